#!/usr/bin/env python3
"""Compares a step of the full AlexNet with PyTorch's on the same CPU cores.

Each round times this program, PyTorch, and a matrix product in PyTorch. From the rate of the
product it computes the time that all multiplications of a step would take as products.

    python3 -m venv target/torch && target/torch/bin/pip install torch
    target/torch/bin/python tests/measure/pytorch.py target/release/alexnet --data DIR

Prints seconds per step, one row per round, then each time divided by this program's (median, lowest,
highest). --compile also times PyTorch's compiled step, which takes minutes longer."""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "gpu-day"))
from alexnet_torch import Lrn, NativeLrn  # noqa: E402
from torch_bench import make_step  # noqa: E402

GFLOP = 526.2  # of a step's products, as `alexnet bench` counts them


def product_rate():
    """GFLOP/s of a large product on all cores."""
    n = 4096
    a, b = torch.rand(n, n), torch.rand(n, n)
    torch.mm(a, b)
    taken = []
    for _ in range(6):
        start = time.monotonic()
        torch.mm(a, b)
        taken.append(time.monotonic() - start)
    return 2 * n**3 / statistics.median(taken) / 1e9


def seconds(step, times):
    taken = []
    for _ in range(times):
        start = time.monotonic()
        step()
        taken.append(time.monotonic() - start)
    return statistics.median(taken)


def alexnet(program, data, steps):
    command = [program, "bench", "--json", "--seconds", "0.1", "--steps", str(steps)]
    command += ["--data", data] if data else []
    output = subprocess.run(command, capture_output=True, check=True).stdout
    return json.loads(output)["step"]["ms"] / 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="alexnet, built with --release")
    parser.add_argument("--data", help="pictures, as for `alexnet bench`")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5, help="steps of each program in a round")
    parser.add_argument("--compile", action="store_true", help="also time PyTorch's compiled step")
    arguments = parser.parse_args()

    ours = arguments.program
    steps = {
        "eager": make_step("fp32", "nchw", False, False, NativeLrn, "cpu"),
        "eager, no normalization": make_step(
            "fp32", "nchw", False, False, lambda _: torch.nn.Identity(), "cpu"
        ),
    }
    if arguments.compile:
        steps["compiled"] = make_step("fp32", "nchw", True, False, Lrn, "cpu")
    for step in steps.values():
        step()
    names = ["products", "alexnet", *steps]
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads; seconds per step")
    print("  ".join(f"{name:>10}" for name in names))
    rounds = []
    for _ in range(arguments.rounds):
        row = {"products": GFLOP / product_rate()}
        row["alexnet"] = alexnet(ours, arguments.data, arguments.steps)
        for name, step in steps.items():
            row[name] = seconds(step, arguments.steps)
        rounds.append(row)
        print("  ".join(f"{row[name]:{max(10, len(name))}.2f}" for name in names), flush=True)
    print("divided by alexnet's, median (lowest to highest):")
    for name in names:
        ratios = sorted(row[name] / row["alexnet"] for row in rounds)
        print(f"  {name}: {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


main()
