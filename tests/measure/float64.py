#!/usr/bin/env python3
"""Measures how near training steps are to exact arithmetic: this program's and PyTorch's.

The program trains for a few steps and keeps a checkpoint of each. The script computes the same
steps in PyTorch twice, in float64 and in float32. All three begin with the same weights and use the
same pictures, dropout masks, learning rates, momentum and decay. float64 stands for exact
arithmetic. The error of an update is |u - u64| / |u64|, where u is the change of the weights since
the start and u64 is that change in float64. The error of a momentum is defined in the same way.

    python3 -m venv target/torch && target/torch/bin/pip install torch numpy safetensors
    target/torch/bin/python tests/measure/float64.py target/release/alexnet --data DIR

Prints the losses and the errors of each tensor while it computes, and a table at the end. The
column "stored" is the error that remains if float64's weights are rounded to float32 once, at the
end. The full network takes 8 GB of memory, 4 GB on disk, and up to two minutes per step on two
cores."""

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file

MOMENTUM = ".momentum"  # ending of its names in a checkpoint
DROPOUT_PURPOSE = 5  # of random numbers, as in proto/model/src/random.rs
WORDS = 2.0**32
# The network below is written for these values of a recipe only.
NEEDED = {
    "network": "alexnet",
    "columns": 2,
    "without": [],
    "unlinked": [],
    "conv6": False,
    "activation": "relu",
    "order": "paper",
    "pool_size": 3,
    "pool_stride": 2,
    "rates": {},
    "decays": {},
    "decay_softmax": True,
}


def philox(counter, key):
    """Philox 4x32-10: four words for each counter, which has four words itself."""
    low = np.uint64(0xFFFFFFFF)
    shift = np.uint64(32)
    key = [np.uint64(k) for k in key]
    for _ in range(10):
        a = np.uint64(0xD2511F53) * counter[0]
        b = np.uint64(0xCD9E8D57) * counter[2]
        counter = [
            (b >> shift) ^ counter[1] ^ key[0],
            b & low,
            (a >> shift) ^ counter[3] ^ key[1],
            a & low,
        ]
        key = [(key[0] + np.uint64(0x9E3779B9)) & low, (key[1] + np.uint64(0xBB67AE85)) & low]
    return counter


def kept(recipe, seed, layer, step, units):
    """The units that dropout keeps: 1, the others 0. [batch, units]."""
    n = recipe["batch"] * units
    first = step * n
    index = np.arange(first // 4, (first + n + 3) // 4, dtype=np.uint64)
    whole = np.full_like(index, 1)
    counter = [
        index & np.uint64(0xFFFFFFFF),
        index >> np.uint64(32),
        whole * np.uint64(layer),
        whole * np.uint64(DROPOUT_PURPOSE),
    ]
    words = np.stack(philox(counter, (seed & 0xFFFFFFFF, seed >> 32)), axis=1).reshape(-1)
    words = words[first % 4 :][:n]
    rate = float(np.float32(recipe["dropout"]))
    return torch.from_numpy((words >= rate * WORDS).reshape(recipe["batch"], units))


def normalized(x, recipe):
    """Response normalization inside each half."""
    if recipe["lrn"] == "none":
        return x
    size = recipe["lrn_size"]
    alpha = recipe["lrn_alpha"] * (size if recipe["lrn"] == "paper" else 1)
    constants = {"alpha": alpha, "beta": recipe["lrn_beta"], "k": recipe["lrn_k"]}
    return torch.cat([F.local_response_norm(half, size, **constants) for half in x.chunk(2, 1)], 1)


def pooled(x):
    return F.max_pool2d(x, 3, 2, ceil_mode=True)


class Network:
    """AlexNet in PyTorch, with numbers of one type."""

    def __init__(self, start, recipe, seed, dtype):
        self.recipe, self.seed = recipe, seed
        self.w = {name: w.to(dtype, copy=True).requires_grad_() for name, w in start.items()}
        self.dtype = dtype
        self.sgd = torch.optim.SGD(map(self.group, self.w), momentum=rounded(recipe["momentum"]))

    def group(self, name):
        """A tensor with its rate and decay."""
        rate, decay = self.recipe["rate"], self.recipe["decay"]
        if name.endswith("bias"):
            rate *= self.recipe["bias_rate"]
            decay *= self.recipe["decay_biases"]
        return {"params": self.w[name], "lr": rounded(rate), "weight_decay": rounded(decay)}

    def conv(self, name, x, **how):
        weight, bias = self.w[f"{name}.weight"], self.w[f"{name}.bias"]
        return F.relu(F.conv2d(x, weight, bias, groups=x.shape[1] // weight.shape[1], **how))

    def full(self, name, x):
        return F.linear(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def dropped(self, layer, x, step):
        mask = kept(self.recipe, self.seed, layer, step, x.shape[1])
        return F.relu(x) * mask.to(self.dtype)

    def logits(self, x, step):
        over = -(x.shape[-1] - 11) % 4  # windows overhang on the right and at the bottom
        x = self.conv("conv1", F.pad(x, (0, over, 0, over)), stride=4)
        x = self.conv("conv2", pooled(normalized(x, self.recipe)), padding=2)
        x = self.conv("conv3", pooled(normalized(x, self.recipe)), padding=1)
        x = self.conv("conv4", x, padding=1)
        x = pooled(self.conv("conv5", x, padding=1)).flatten(1)
        x = self.dropped(6, self.full("fc6", x), step)
        x = self.dropped(7, self.full("fc7", x), step)
        return self.full("fc8", x)

    def step(self, minibatch, step):
        """Trains one step and returns the loss before it."""
        self.sgd.zero_grad()
        logits = self.logits(minibatch["input"].to(self.dtype), step)
        loss = F.cross_entropy(logits, minibatch["label"].long())
        loss.backward()
        self.sgd.step()
        return loss.item()

    def weights(self):
        return {name: w.detach() for name, w in self.w.items()}

    def momentum(self):
        """The program's form of momentum: PyTorch's times the rate, with the other sign."""
        rates = [group["lr"] for group in self.sgd.param_groups]
        return {
            name: -rate * self.sgd.state[w]["momentum_buffer"].double()
            for rate, (name, w) in zip(rates, self.w.items())
        }


def rounded(constant):
    """The nearest float32 of a constant: all three use it."""
    return float(np.float32(constant))


class Run:
    """A run of the program, with a checkpoint of each step."""

    def __init__(self, arguments, work):
        self.arguments, self.work, self.dir = arguments, work, work / "run"
        steps = max(arguments.at)
        self.alexnet("up", "--run", self.dir, "--devices", arguments.devices,
                     *self.training(), "--steps", steps,
                     "--checkpoint-every", 1, "--keep", steps,
                     "--data", arguments.data)  # fmt: skip
        self.recipe = tomllib.loads((self.dir / "recipe.toml").read_text())
        lines = map(json.loads, (self.dir / "metrics.jsonl").read_text().splitlines())
        self.losses = [line["loss"] for line in lines if line["kind"] == "step"]

    def alexnet(self, *command):
        command = [self.arguments.program, *map(str, command)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)}: {done.stderr}")

    def training(self):
        """Recipe and seed, as options."""
        sets = [word for change in self.arguments.set for word in ("--set", change)]
        return ["--recipe", self.arguments.recipe, "--seed", self.arguments.seed, *sets]

    def start(self):
        """The weights before the first step."""
        file = self.work / "start.safetensors"
        self.alexnet("export", self.dir, file, "--step", "0")
        return {name: w for name, w in load_file(file).items() if name != "mean"}

    def minibatch(self, step):
        """The pictures of a step as the network sees them, and their classes."""
        file = self.work / "minibatch.safetensors"
        self.alexnet("preview", self.arguments.data, self.work / "sheet.png", *self.training(),
                     "--step", step, "--tensors", file)  # fmt: skip
        return load_file(file)

    def checkpoint(self, step):
        """Weights and momentum after so many steps, half A's rows first."""
        folder = self.dir / "checkpoints" / f"step-{step:08}"
        halves = [safe_open(folder / f"half-{half}.safetensors", "pt") for half in "ab"]
        tensors = {
            name: torch.cat([half.get_tensor(name) for half in halves]) for name in halves[0].keys()
        }
        weights = {name: t for name, t in tensors.items() if not name.endswith(MOMENTUM)}
        return weights, {name: tensors[name + MOMENTUM] for name in weights}


class Errors:
    """How far tensors are from those of float64, each and all together."""

    def __init__(self, got, exact):
        off, size = {}, {}
        for name, right in exact.items():
            right = right.double()
            off[name] = (got[name].double() - right).norm().item()
            size[name] = right.norm().item()
        self.each = {name: off[name] / size[name] for name in exact}
        self.whole = np.linalg.norm(list(off.values())) / np.linalg.norm(list(size.values()))

    def worst(self):
        name = max(self.each, key=self.each.get)
        return f"{self.each[name]:.2e} {name}"


def update(weights, start):
    return {name: w.double() - start[name].double() for name, w in weights.items()}


def compared(run, start, exact, single, step):
    """The errors after so many steps, by what is compared."""
    weights, momentum = run.checkpoint(step)
    right, right_momentum = update(exact.weights(), start), exact.momentum()
    stored = {name: w.float() for name, w in exact.weights().items()}
    return {
        "update": Errors(update(weights, start), right),
        "update, PyTorch": Errors(update(single.weights(), start), right),
        "update, stored": Errors(update(stored, start), right),
        "momentum": Errors(momentum, right_momentum),
        "momentum, PyTorch": Errors(single.momentum(), right_momentum),
    }


def print_tensors(step, errors):
    print(f"\nafter step {step}\n{'':14}" + "  ".join(f"{what:>18}" for what in errors))
    rows = [(name, [e.each[name] for e in errors.values()]) for name in errors["update"].each]
    for name, row in [*rows, ("all", [e.whole for e in errors.values()])]:
        print(f"{name:14}" + "  ".join(f"{value:18.2e}" for value in row))
    print(flush=True)


def print_summary(table):
    print("errors of all tensors together, and the largest error of one tensor")
    for what in next(iter(table.values())):
        for step, errors in table.items():
            print(f"{what:18}  {step:2} steps  {errors[what].whole:.2e}  {errors[what].worst()}")


def check(recipe):
    for key, value in NEEDED.items():
        if recipe[key] != value:
            sys.exit(f"recipe: {key} is {recipe[key]}, but this script computes only {value}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="alexnet, built with --release")
    parser.add_argument("--data", required=True, help="prepared pictures")
    parser.add_argument("--recipe", default="caffe")
    parser.add_argument("--set", action="append", default=[], help="a change of the recipe")
    parser.add_argument("--seed", type=int, default=2012)
    parser.add_argument("--at", type=int, nargs="+", default=[1, 2, 3, 5, 8], metavar="STEP",
                        help="steps after which to compare")  # fmt: skip
    parser.add_argument("--devices", default="auto", help="as for `alexnet up`")
    return parser.parse_args()


def measure(run, seed, at):
    check(run.recipe)
    start = run.start()
    exact = Network(start, run.recipe, seed, torch.float64)
    single = Network(start, run.recipe, seed, torch.float32)
    table = {}
    for step in range(max(at)):
        minibatch = run.minibatch(step)
        right = exact.step(minibatch, step)
        losses = {"this program": run.losses[step], "PyTorch": single.step(minibatch, step)}
        off = ", ".join(f"{who} {(loss - right) / right:+.1e}" for who, loss in losses.items())
        print(f"step {step + 1}: loss {right:.9f} in float64; relative errors: {off}", flush=True)
        if step + 1 in at:
            table[step + 1] = compared(run, start, exact, single, step + 1)
            print_tensors(step + 1, table[step + 1])
    print_summary(table)


def main():
    asked = arguments()
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads; recipe {asked.recipe}")
    with tempfile.TemporaryDirectory() as work:
        measure(Run(asked, Path(work)), asked.seed, asked.at)


main()
