#!/usr/bin/env python3
"""Holds every kernel of the prototype to f64: ragged sizes, poisoned outputs, the same bits twice.

check.py LIBCUDA NVRTC
"""

import sys

import numpy as np
from ctypes import c_uint64

from driver import Driver
from products import STAGE, THREADS, Conv, bf16, cut, load, tf32, tiles, widened

# Against exact operands: what rounding them costs. Against rounded ones: what f32 sums cost.
EXACT = {"tf32": 1e-3, "tf32x3": 2e-6, "bf16": 1e-2}
ROUNDED = 3e-6


class Check:
    def __init__(self, libcuda, nvrtc):
        self.driver = Driver(libcuda)
        self.module = load(self.driver, nvrtc)
        self.rng = np.random.default_rng(1)
        self.failed = self.checked = 0

    def random(self, *shape):
        return self.rng.standard_normal(shape, dtype=np.float32)

    def twice(self, kernel, grid, shape, *arguments):
        """The sums of all splits, from two launches into memory that is not a number."""
        function = self.driver.function(self.module, kernel)
        sums = []
        for _ in range(2):
            out = self.driver.upload(np.full(shape, np.nan, np.float32))
            self.driver.launch(function, grid, THREADS, out, *arguments)
            self.driver.finish()
            parts = self.driver.download(out, shape)
            total = parts[0].copy()
            for part in parts[1:]:
                total += part
            sums.append(total)
        return sums

    def compare(self, kernel, kind, sums, exact, rounded, sizes):
        first, second = sums

        def off(want):
            return float(np.linalg.norm(first - want) / np.linalg.norm(want))

        same = (first.view(np.uint32) == second.view(np.uint32)).all()
        good = same and np.isfinite(first).all() and off(exact) < EXACT[kind]
        # Of TF32×3 the rounded operands are not what it multiplies.
        good = good and (kind == "tf32x3" or off(rounded) < ROUNDED)
        self.checked += 1
        self.failed += not good
        words = f"{off(exact):.1e} off exact, {off(rounded):.1e} off rounded operands"
        print("ok " if good else "BAD", f"{kernel:28} {sizes:34} {words}, same bits {same}")

    def full(self, kind, n, units, part, inputs, at, splits):
        """The three products of a fully-connected layer over a part of its inputs."""
        x, w, dy = self.random(n, part), self.random(units, inputs), self.random(n, units)
        stored = bf16 if kind == "bf16" else np.asarray
        places = [self.driver.upload(stored(operand)) for operand in (x, w, dy)]
        on_x, on_w, on_dy = places
        on_part = c_uint64(on_w.value + at * (2 if kind == "bf16" else 4))
        own = w[:, at : at + part]
        wide = [operand.astype(np.float64) for operand in (x, own, dy)]
        seen = [as_multiplied(kind, operand).astype(np.float64) for operand in (x, own, dy)]
        cases = [
            ("forward", (n, units), part, on_x, on_part, lambda x, w, dy: x @ w.T),
            ("backward_inputs", (n, part), units, on_dy, on_part, lambda x, w, dy: dy @ w),
            ("backward_weights", (units, part), n, on_dy, on_x, lambda x, w, dy: dy.T @ x),
        ]
        for which, shape, depth, a, b, reference in cases:
            kernel = f"full_{which}_{kind}"
            each, n_splits = cut(depth, kind, splits)
            grid = (*tiles(*shape), n_splits)
            sizes = (n, units, part, inputs, each)
            sums = self.twice(kernel, grid, (n_splits, *shape), a, b, *sizes)
            words = f"{n} × {units}, {part} of {inputs}, {n_splits} splits"
            self.compare(kernel, kind, sums, reference(*wide), reference(*seen), words)
        self.driver.free(*places)

    def conv(self, kind, conv, splits, relu):
        """A convolution forward, and the gradient of its weights."""
        x = self.random(conv.n, conv.side, conv.side, conv.inputs)
        w = self.random(conv.maps, conv.kernel, conv.kernel, conv.group_inputs)
        dy = self.random(conv.n, conv.out, conv.out, conv.maps)
        bias = self.random(conv.maps)
        laid = laid_out(conv, x)
        stored = bf16 if kind == "bf16" else tf32
        arrays = (stored(laid), conv.starts(), conv.pieces(kind), stored(w), stored(dy), bias)
        places = [self.driver.upload(array) for array in arrays]
        on_laid, starts, pieces, on_w, on_dy, on_bias = places
        groups, maps, inputs = conv.groups, conv.group_maps, conv.group_inputs
        words = f"{conv.n} × {conv.inputs} → {conv.maps} in {groups}, {conv.side} by {conv.kernel}"

        each, n_splits = cut(conv.depth, kind, splits)
        # Bias and activation can only end a sum that is whole.
        ends = n_splits == 1
        grid = (*tiles(conv.rows, maps), groups * n_splits)
        sums = self.twice(
            *(f"conv_forward_{kind}", grid, (n_splits, conv.rows, conv.maps)),
            *(on_laid, starts, pieces, on_w, on_bias if ends else c_uint64(0)),
            *(int(relu and ends), conv.rows, groups, maps, inputs, conv.depth, each),
        )

        def forward(laid, w):
            y = products_forward(conv, windows(conv, laid), w) + (bias if ends else 0)
            return np.maximum(y, 0) if relu and ends else y

        want = forward(laid, w), forward(as_multiplied(kind, laid), as_multiplied(kind, w))
        self.compare(f"conv_forward_{kind}", kind, sums, *want, words)

        each, n_splits = cut(conv.rows, kind, splits)
        grid = (*tiles(maps, conv.depth), groups * n_splits)
        sums = self.twice(
            *(f"conv_backward_weights_{kind}", grid, (n_splits, conv.maps, conv.depth)),
            *(on_dy, on_laid, starts, pieces, groups, maps, inputs, conv.depth, conv.rows, each),
        )

        def weights(laid, dy):
            return products_weights(conv, windows(conv, laid), dy)

        want = weights(laid, dy), weights(as_multiplied(kind, laid), as_multiplied(kind, dy))
        self.compare(f"conv_backward_weights_{kind}", kind, sums, *want, words)
        self.driver.free(*places)


def as_multiplied(kind, x):
    """An operand as the tensor cores see it."""
    return {"bf16": lambda: widened(bf16(x)), "tf32": lambda: tf32(x)}.get(kind, lambda: x)()


def laid_out(conv, x):
    """Images with zeros around, as wide as the windows reach."""
    laid = np.zeros((conv.n, conv.line, conv.line, conv.inputs), np.float32)
    side, pad = min(conv.side, conv.line - conv.pad), conv.pad
    laid[:, pad : pad + side, pad : pad + side] = x[:, :side, :side]
    return laid


def windows(conv, laid):
    """[rows, ky · kx, inputs] in f64."""
    reach = conv.stride * (conv.out - 1) + 1
    cut_at = [(y, x) for y in range(conv.kernel) for x in range(conv.kernel)]
    shifted = [laid[:, y : y + reach : conv.stride, x : x + reach : conv.stride] for y, x in cut_at]
    return np.stack(shifted, 3).reshape(conv.rows, len(cut_at), conv.inputs).astype(np.float64)


def by_group(conv):
    """Slices of each group's maps and inputs."""
    for group in range(conv.groups):
        maps = slice(group * conv.group_maps, (group + 1) * conv.group_maps)
        yield maps, slice(group * conv.group_inputs, (group + 1) * conv.group_inputs)


def products_forward(conv, seen, w):
    y = np.zeros((conv.rows, conv.maps))
    for maps, inputs in by_group(conv):
        flat = w[maps].reshape(conv.group_maps, -1).astype(np.float64)
        y[:, maps] = seen[..., inputs].reshape(conv.rows, -1) @ flat.T
    return y


def products_weights(conv, seen, dy):
    dy = dy.reshape(conv.rows, conv.maps).astype(np.float64)
    parts = [dy[:, m].T @ seen[..., i].reshape(conv.rows, -1) for m, i in by_group(conv)]
    return np.concatenate(parts)


def main():
    check = Check(*sys.argv[1:3])
    print(f"device {check.driver.name}, compute capability {check.driver.capability / 10}")
    for kind in STAGE:
        check.full(kind, 128, 136, 256, 512, 128, 2)
        check.full(kind, 72, 200, 304, 304, 0, 1)
        check.full(kind, 8, 64, 40, 48, 8, 3)
    for kind in ("tf32", "bf16"):
        check.conv(kind, Conv(2, 16, 64, 2, 13, 3, 1, 1), 2, False)
        check.conv(kind, Conv(1, 48, 128, 1, 15, 5, 1, 2), 1, True)
        check.conv(kind, Conv(1, 8, 24, 1, 31, 11, 4, 0), 1, True)
        check.conv(kind, Conv(2, 32, 144, 1, 6, 3, 1, 1), 3, False)
    print(f"{check.checked} products checked, {check.failed} wrong")
    sys.exit(check.failed > 0 or check.checked == 0)


main()
