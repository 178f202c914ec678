#!/usr/bin/env python3
"""Times the prototype's kernels over AlexNet's shapes, one half, a line per product; rows of the
table for those that were predicted.

bench.py LIBCUDA NVRTC [--small]
"""

import sys
from ctypes import c_uint64

import numpy as np

from driver import Driver
from products import STAGE, THREADS, Conv, bf16, ceil_div, cut, load, tf32, tiles

# name, input maps, maps, side, kernel, stride, padding; conv1 has three maps, filled up to eight.
CONVOLUTIONS = [
    ("conv2", 48, 128, 27, 5, 1, 2),
    ("conv3", 128, 192, 13, 3, 1, 1),
    ("conv4", 192, 192, 13, 3, 1, 1),
    ("conv5", 192, 128, 13, 3, 1, 1),
    ("conv1", 8, 48, 227, 11, 4, 0),
]
# name, own inputs, all inputs, units
FULL = [("fc6", 4608, 9216, 2048), ("fc7", 2048, 4096, 2048)]
PREDICTED = {
    ("conv2", 128, "conv_forward_bf16"): "tensor_conv2_forward_bf16",
    ("conv3", 128, "conv_forward_tf32"): "tensor_conv3_forward_tf32",
}
# Some more is read behind an operand than there is of it.
SPARE = 4096


class Bench:
    def __init__(self, libcuda, nvrtc, small):
        self.driver = Driver(libcuda)
        self.module = load(self.driver, nvrtc)
        self.rng = np.random.default_rng(7)
        self.times = (2, 0) if small else (50, 5)

    def random(self, kind, *shape):
        x = self.rng.standard_normal(shape, dtype=np.float32)
        x = {"bf16": bf16, "tf32": tf32}.get(kind, np.asarray)(x)
        return self.driver.upload(x, SPARE)

    def cut(self, depth, kind, n_tiles):
        """Two blocks a multiprocessor, at least eight stages a split."""
        stages = ceil_div(depth, STAGE[kind][0])
        wanted = min(2 * self.driver.multiprocessors // n_tiles, stages // 8)
        return cut(depth, kind, max(1, wanted))

    def time(self, layer, n, kernel, grid, gflop, shape, *arguments):
        function = self.driver.function(self.module, kernel)
        out = self.driver.upload(np.full(shape, np.nan, np.float32))

        def run():
            self.driver.launch(function, grid, THREADS, out, *arguments)

        run()
        self.driver.finish()
        if np.isnan(self.driver.download(out, shape)).any():
            sys.exit(f"{layer} {kernel}: outputs that were not written")
        ms = self.driver.milliseconds(run, *self.times)
        self.driver.free(out)
        blocks = int(np.prod(grid))
        speed = f"{ms:9.4f} ms {gflop / ms:8.1f} TFLOP/s"
        print(f"{layer} × {n:<4} {kernel:28} {blocks:5} blocks {speed}", flush=True)
        key = PREDICTED.get((layer, n, kernel))
        if key:
            detail = f"batch {n}, {ms:.4f} ms"
            print(f"measured\t{key}\t{gflop / ms:.1f}\tTFLOP/s\t{detail}", flush=True)

    def conv(self, kind, n, name, inputs, maps, side, kernel, stride, pad):
        conv = Conv(n, inputs, maps, 1, side, kernel, stride, pad)
        gflop = 2e-9 * conv.rows * maps * conv.depth
        laid = self.random(kind, n, conv.line, conv.line, inputs)
        w, dy = self.random(kind, maps, conv.depth), self.random(kind, conv.rows, maps)
        arrays = (conv.starts(), conv.pieces(kind), np.zeros(maps, np.float32))
        starts, pieces, bias = (self.driver.upload(array, SPARE) for array in arrays)

        grid = tiles(conv.rows, maps)
        each, splits = self.cut(conv.depth, kind, grid[0] * grid[1])
        ends = splits == 1
        self.time(
            *(name, n, f"conv_forward_{kind}", (*grid, splits), gflop, (splits, conv.rows, maps)),
            *(laid, starts, pieces, w, bias if ends else c_uint64(0), int(ends)),
            *(conv.rows, 1, maps, inputs, conv.depth, each),
        )
        grid = tiles(maps, conv.depth)
        each, splits = self.cut(conv.rows, kind, grid[0] * grid[1])
        shape = (splits, maps, conv.depth)
        self.time(
            *(name, n, f"conv_backward_weights_{kind}", (*grid, splits), gflop, shape),
            *(dy, laid, starts, pieces, 1, maps, inputs, conv.depth, conv.rows, each),
        )
        self.driver.free(laid, w, dy, starts, pieces, bias)

    def full(self, kind, n, name, part, inputs, units):
        x, w, dy = (
            self.random(kind, n, part),
            self.random(kind, units, inputs),
            self.random(kind, n, units),
        )
        gflop = 2e-9 * n * part * units
        for which, rows, columns, depth, a, b in (
            ("forward", n, units, part, x, w),
            ("backward_inputs", n, part, units, dy, w),
            ("backward_weights", units, part, n, dy, x),
        ):
            grid = tiles(rows, columns)
            each, splits = self.cut(depth, kind, grid[0] * grid[1])
            self.time(
                *(name, n, f"full_{which}_{kind}", (*grid, splits), gflop, (splits, rows, columns)),
                *(a, b, n, units, part, inputs, each),
            )
        self.driver.free(x, w, dy)


def main():
    libcuda, nvrtc, *options = sys.argv[1:]
    small = options == ["--small"]
    bench = Bench(libcuda, nvrtc, small)
    for n in (1,) if small else (128, 32):
        for kind in ("tf32", "bf16"):
            for layer in CONVOLUTIONS[: 2 if small else None]:
                bench.conv(kind, n, *layer)
    for kind in STAGE:
        for layer in [("fc6", 256, 512, 128)] if small else FULL:
            bench.full(kind, 8 if small else 128, *layer)


main()
