"""The paper's two-column AlexNet (both halves in one network, response normalization, dropout) in
PyTorch, and how its time on a GPU is taken."""

import torch
import torch.nn.functional as F
from torch import nn

PARAMETERS = 60_965_224


class Lrn(nn.Module):
    """Response normalization over five maps inside each group of maps, with a plain sum as in the
    paper: five shifted slices are added, which the compiler makes one kernel of."""

    def __init__(self, group):
        super().__init__()
        self.group = group

    def one(self, x):
        squares = F.pad(x * x, (0, 0, 0, 0, 2, 2))
        window = sum(squares[:, i : i + x.shape[1]] for i in range(5))
        return x * (2.0 + 1e-4 * window) ** -0.75

    def forward(self, x):
        with torch.autocast(x.device.type, enabled=False):
            return torch.cat([self.one(group) for group in x.float().split(self.group, 1)], 1)


class NativeLrn(Lrn):
    """The same by PyTorch's own function, which divides α by the window."""

    def one(self, x):
        return F.local_response_norm(x, 5, alpha=5e-4, beta=0.75, k=2.0)


class AlexNet(nn.Module):
    def __init__(self, lrn=Lrn):
        super().__init__()
        pool = nn.MaxPool2d(3, 2)
        relu = nn.ReLU(inplace=True)
        self.features = nn.Sequential(
            *[nn.ZeroPad2d((0, 3, 0, 3)), nn.Conv2d(3, 96, 11, 4), relu, lrn(48), pool],
            *[nn.Conv2d(96, 256, 5, 1, 2, groups=2), relu, lrn(128), pool],
            *[nn.Conv2d(256, 384, 3, 1, 1), relu],
            *[nn.Conv2d(384, 384, 3, 1, 1, groups=2), relu],
            *[nn.Conv2d(384, 256, 3, 1, 1, groups=2), relu, pool],
        )
        self.classifier = nn.Sequential(
            *[nn.Flatten(), nn.Linear(9216, 4096), relu, nn.Dropout()],
            *[nn.Linear(4096, 4096), relu, nn.Dropout(), nn.Linear(4096, 1000)],
        )

    def forward(self, x):
        return self.classifier(self.features(x))


def set_precision(precision):
    """fp32, tf32 or bf16: whether products of f32 may round their operands to TF32."""
    allowed = precision != "fp32"
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cudnn.benchmark = True


def milliseconds(run, times, warm_up=5):
    """The time of each run on the device, sorted."""
    for _ in range(warm_up):
        run()
    taken = []
    for _ in range(times):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        taken.append(start.elapsed_time(end))
    return sorted(taken)
