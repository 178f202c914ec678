#!/usr/bin/env python3
"""Loads an exported network into PyTorch and runs a minibatch through it.

    alexnet export RUN net.safetensors
    alexnet preview DATA sheet.png --tensors batch.safetensors --step 0
    python3 tests/golden/load_export.py net.safetensors batch.safetensors [paper|original] [k] [dropout]

Run by hand; needs torch and safetensors. Proves that names, shapes and layouts are PyTorch's: conv2, conv4 and
conv5 are Conv2d(groups=2), full layers are Linear, and the flattened order of conv5's maps is PyTorch's.
"""
import sys
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file


class AlexNet(nn.Module):
    def __init__(self, t, lrn, k, dropout):
        super().__init__()
        self.lrn, self.k, self.keep = lrn, k, 1 - dropout
        for name, stride, pad in [("conv1", 4, 0), ("conv2", 1, 2), ("conv3", 1, 1), ("conv4", 1, 1), ("conv5", 1, 1)]:
            w = t[f"{name}.weight"]
            groups = 2 if name in ("conv2", "conv4", "conv5") else 1
            setattr(self, name, nn.Conv2d(w.shape[1] * groups, w.shape[0], w.shape[2], stride, pad, groups=groups))
        for name in ("fc6", "fc7", "fc8"):
            w = t[f"{name}.weight"]
            setattr(self, name, nn.Linear(w.shape[1], w.shape[0]))
        self.load_state_dict(t, strict=True)

    def norm(self, x):
        out = []
        for half in x.chunk(2, 1):  # inside a half
            sq = F.pad(half * half, (0, 0, 0, 0, 2, 2))
            total = sum(sq[:, i : i + half.shape[1]] for i in range(5))
            out.append(half * (self.k + (1e-4 if self.lrn == "paper" else 2e-5) * total) ** -0.75)
        return torch.cat(out, 1)

    def forward(self, x):
        over = (-(x.shape[-1] - 11)) % 4  # windows overhang right and bottom
        x = F.relu(self.conv1(F.pad(x, (0, over, 0, over))))
        x = F.max_pool2d(self.norm(x), 3, 2, ceil_mode=True)
        x = F.max_pool2d(self.norm(F.relu(self.conv2(x))), 3, 2, ceil_mode=True)
        x = F.relu(self.conv4(F.relu(self.conv3(x))))
        x = F.max_pool2d(F.relu(self.conv5(x)), 3, 2, ceil_mode=True).flatten(1)
        x = F.relu(self.fc6(x)) * self.keep
        return self.fc8(F.relu(self.fc7(x)) * self.keep)


def main():
    net, batch = load_file(sys.argv[1]), load_file(sys.argv[2])
    net.pop("mean", None)  # the batch's `input` has it subtracted already
    lrn = sys.argv[3] if len(sys.argv) > 3 else "paper"
    k = float(sys.argv[4]) if len(sys.argv) > 4 else 2.0
    dropout = float(sys.argv[5]) if len(sys.argv) > 5 else 0.5
    model = AlexNet(net, lrn, k, dropout).eval()
    with torch.no_grad():
        logits = model(batch["input"])
        label = batch["label"].long()
        loss = F.cross_entropy(logits, label).item()
        error = (logits.argmax(1) != label).float().mean().item()
    n = sum(p.numel() for p in model.parameters())
    print(f"{n} parameters loaded by PyTorch {torch.__version__}; minibatch of {len(label)}: loss {loss:.6f}, top-1 error {error:.4f}")


if __name__ == "__main__":
    main()
