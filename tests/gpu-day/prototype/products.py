"""What the prototype's check and its bench share: operands as each arithmetic takes them, and the
geometry that tensor.cu asks for."""

import pathlib

import numpy as np

from nvrtc import Nvrtc

TILE, THREADS = 128, 128
# Of each arithmetic: depth of a stage, numbers in 16 bytes.
STAGE = {"tf32": (16, 4), "tf32x3": (16, 4), "bf16": (32, 8)}


def load(driver, nvrtc):
    """The prototype's kernels on the device."""
    nvrtc = Nvrtc(nvrtc)
    text = pathlib.Path(__file__).with_name("tensor.cu").read_text(encoding="utf-8")
    code = nvrtc.compile(text, "tensor.cu", nvrtc.nearest(driver.capability))
    return driver.module(*code)


def bf16(x):
    """Rounded to the nearest, ties to even, as 16 bits."""
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def widened(bits):
    """bf16 as f32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def tf32(x):
    """Rounded to the nearest, ties away from zero."""
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + 0x1000) & np.uint32(0xFFFFE000)).view(np.float32)


def ceil_div(a, b):
    return -(-a // b)


def cut(depth, kind, splits):
    """Stages in each split, and the splits that are needed then."""
    stages = ceil_div(depth, STAGE[kind][0])
    each = ceil_div(stages, splits)
    return each, ceil_div(stages, each)


def tiles(rows, columns):
    return ceil_div(columns, TILE), ceil_div(rows, TILE)


class Conv:
    """A convolution over images that are laid out maps last, with zeros around."""

    def __init__(self, n, inputs, maps, groups, side, kernel, stride, pad):
        self.n, self.side, self.kernel, self.stride, self.pad = n, side, kernel, stride, pad
        self.inputs, self.maps, self.groups = inputs, maps, groups
        self.out = (side + 2 * pad - kernel) // stride + 1
        self.line = stride * (self.out - 1) + kernel
        self.rows = n * self.out**2
        self.group_inputs, self.group_maps = inputs // groups, maps // groups
        self.depth = kernel**2 * self.group_inputs

    def starts(self):
        """Where each row's window begins; some more rows are read than there are."""
        steps = np.arange(self.out) * self.stride
        image = np.arange(self.n) * self.line**2
        at = image[:, None, None] + steps[None, :, None] * self.line + steps[None, None, :]
        return np.concatenate([at.reshape(-1) * self.inputs, np.zeros(64)]).astype(np.uint32)

    def pieces(self, kind):
        """Where in a window each 16 bytes begin; some more are read than there are."""
        window, each = range(self.kernel), STAGE[kind][1]
        at = [
            (y * self.line + x) * self.inputs + c
            for y in window
            for x in window
            for c in range(0, self.group_inputs, each)
        ]
        return np.array(at + [0] * 16, np.uint32)
