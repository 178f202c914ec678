#!/usr/bin/env python3
"""Times each convolution and fully-connected layer of one half in PyTorch, pass by pass, at batch
128: the numbers beside those of `alexnet timing`. Prints a line per layer and pass."""

import torch
import torch.nn.functional as F

from alexnet_torch import milliseconds, set_precision

BATCH = 128
# name, input maps, side, maps, kernel, stride, padding
CONVOLUTIONS = [
    ("conv1", 3, 227, 48, 11, 4, 0),
    ("conv2", 48, 27, 128, 5, 1, 2),
    ("conv3", 256, 13, 192, 3, 1, 1),
    ("conv4", 192, 13, 192, 3, 1, 1),
    ("conv5", 192, 13, 128, 3, 1, 1),
]
FULL = [("fc6", 9216, 2048), ("fc7", 4096, 2048), ("fc8", 4096, 500)]


def say(precision, layout, layer, which, gflop, run):
    times = milliseconds(run, 20)
    ms = times[len(times) // 2]
    print(f"{precision} {layout} {layer:5} {which:8} {ms:8.4f} ms {gflop / ms:7.1f} TFLOP/s")


def convolutions(precision, dtype, layout):
    form = torch.channels_last if layout == "nhwc" else torch.contiguous_format
    for name, inputs, side, maps, kernel, stride, padding in CONVOLUTIONS:

        def random(*shape):
            return torch.randn(shape, device="cuda", dtype=dtype).contiguous(memory_format=form)

        x, w = random(BATCH, inputs, side, side), random(maps, inputs, kernel, kernel)
        y = F.conv2d(x, w, None, stride, padding)
        dy = torch.randn_like(y)
        gflop = 2e-9 * y.numel() * inputs * kernel**2

        def backward(mask):
            geometry = ([stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, mask)
            return torch.ops.aten.convolution_backward(dy, x, w, None, *geometry)

        def forward():
            return F.conv2d(x, w, None, stride, padding)

        say(precision, layout, name, "forward", gflop, forward)
        say(precision, layout, name, "inputs", gflop, lambda: backward([True, False, False]))
        say(precision, layout, name, "weights", gflop, lambda: backward([False, True, False]))


def full_layers(precision, dtype):
    for name, inputs, units in FULL:
        x = torch.randn(BATCH, inputs, device="cuda", dtype=dtype)
        w = torch.randn(units, inputs, device="cuda", dtype=dtype)
        dy = torch.randn(BATCH, units, device="cuda", dtype=dtype)
        gflop = 2e-9 * BATCH * inputs * units
        say(precision, "-", name, "forward", gflop, lambda: x @ w.t())
        say(precision, "-", name, "inputs", gflop, lambda: dy @ w)
        say(precision, "-", name, "weights", gflop, lambda: dy.t() @ x)


def main():
    for precision in ("fp32", "tf32", "bf16"):
        set_precision(precision)
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        for layout in ("nchw", "nhwc"):
            convolutions(precision, dtype, layout)
        full_layers(precision, dtype)


main()
