#!/usr/bin/env python3
"""Makes the golden files: ten steps of a small AlexNet by an independent implementation.

Run outside the test run, by hand:  python3 tests/golden/make.py
Needs torch (made with 2.15.0, CPU, float64), numpy and safetensors.

Nothing here shares code with the project: random numbers (Philox 4x32-10, Box-Muller), initial
values, dropout masks, pictures, the network and the update are written again from their
definitions. Arithmetic is float64, so what the test measures is the project's rounding.

The network is AlexNet at 1/16 of its width, crop 64, ten classes, every layer kind in it: grouped
convolutions, response normalization inside each half, overlapping pooling, dropout. One minibatch
of 16 made-up pictures is learnt for ten steps.
"""
import math, os
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
SEED, BATCH, SIDE, CLASSES, STEPS = 7, 16, 64, 10, 10
RATE, MOMENTUM, DECAY, DROPOUT = 0.0002, 0.9, 0.0005, 0.25
WEIGHTS, DROP = 1, 5  # purposes of the random streams
M32 = np.uint64(0xFFFFFFFF)


def philox(counter, key):
    """Philox 4x32-10 on arrays: counter is four uint64 arrays of 32-bit words."""
    c = [x.astype(np.uint64) & M32 for x in counter]
    k0, k1 = np.uint64(key[0]), np.uint64(key[1])
    for _ in range(10):
        a = np.uint64(0xD2511F53) * c[0]
        b = np.uint64(0xCD9E8D57) * c[2]
        c = [(b >> np.uint64(32)) ^ c[1] ^ k0, b & M32, (a >> np.uint64(32)) ^ c[3] ^ k1, a & M32]
        k0 = (k0 + np.uint64(0x9E3779B9)) & M32
        k1 = (k1 + np.uint64(0xBB67AE85)) & M32
    return c


def words(purpose, stream, index):
    index = np.asarray(index, dtype=np.uint64)
    full = lambda v: np.full(index.shape, v, dtype=np.uint64)
    counter = [index & M32, index >> np.uint64(32), full(stream), full(purpose)]
    return philox(counter, (SEED & 0xFFFFFFFF, SEED >> 32))


def normals(stream, n):
    w = words(WEIGHTS, stream, np.arange((n + 3) // 4))
    out = np.empty((len(w[0]), 4))
    for j in (0, 2):
        u = (w[j].astype(np.float64) + 1) / 2.0**32
        angle = 2 * math.pi * w[j + 1].astype(np.float64) / 2.0**32
        r = np.sqrt(-2 * np.log(u))
        out[:, j], out[:, j + 1] = r * np.cos(angle), r * np.sin(angle)
    return out.reshape(-1)[:n]


def mask(layer, step, units):
    i = (np.uint64(step * BATCH * units) + np.arange(BATCH * units, dtype=np.uint64))
    w = np.stack(words(DROP, layer, i // np.uint64(4)))
    word = w[(i % np.uint64(4)).astype(int), np.arange(len(i))]
    return torch.from_numpy((word >= DROPOUT * 2.0**32).astype(np.float64).reshape(BATCH, units))


def pictures():
    """Ten kinds of stripes with noise (so that no two windows tie); integers only, written again in the test."""
    n, c, y, x = np.meshgrid(*[np.arange(s) for s in (BATCH, 3, SIDE, SIDE)], indexing="ij")
    label = (n * 3) % CLASSES
    t = (x * (1 + label % 3) + y * (1 + label // 3) + 7 * n) % 32
    noise = (x * x * 31 + y * y * 17 + x * y * 13 + n * 29 + c * 7) % 23
    return 2 * np.abs(16 - t) + 10 * ((label + c) % 3) + noise, (np.arange(BATCH) * 3) % CLASSES


# name, maps, weights' shape, groups, exact fan-in is the product of shape[1:]
LAYERS = [
    ("conv1", (6, 3, 11, 11)), ("conv2", (16, 3, 5, 5)), ("conv3", (24, 16, 3, 3)),
    ("conv4", (24, 12, 3, 3)), ("conv5", (16, 12, 3, 3)), ("fc6", (256, 16)),
    ("fc7", (256, 256)), ("fc8", (10, 256)),
]
BIAS = {"conv2": 0.1, "conv4": 0.1, "conv5": 0.1, "fc6": 0.1, "fc7": 0.1}


def lrn(x, groups):
    """k=2, n=5, alpha=1e-4 on the plain sum, beta=.75, inside each group of maps."""
    out = []
    for part in x.chunk(groups, dim=1):
        padded = F.pad(part * part, (0, 0, 0, 0, 2, 2))
        total = sum(padded[:, i : i + part.shape[1]] for i in range(5))
        out.append(part * (2 + 1e-4 * total) ** -0.75)
    return torch.cat(out, dim=1)


def forward(x, p, step):
    x = F.pad(x, (0, 4, 0, 4))  # overhang right and bottom: 1 + ceil((64 - 11) / 4) = 15 windows
    x = F.relu(F.conv2d(x, p["conv1.weight"], p["conv1.bias"], stride=4))
    assert x.shape[-1] == 15
    x = F.max_pool2d(lrn(x, 2), 3, 2)
    x = F.relu(F.conv2d(x, p["conv2.weight"], p["conv2.bias"], padding=2, groups=2))
    x = F.max_pool2d(lrn(x, 2), 3, 2)
    x = F.relu(F.conv2d(x, p["conv3.weight"], p["conv3.bias"], padding=1))
    x = F.relu(F.conv2d(x, p["conv4.weight"], p["conv4.bias"], padding=1, groups=2))
    x = F.relu(F.conv2d(x, p["conv5.weight"], p["conv5.bias"], padding=1, groups=2))
    x = F.max_pool2d(x, 3, 2).flatten(1)
    x = F.relu(F.linear(x, p["fc6.weight"], p["fc6.bias"])) * mask(6, step, 256)
    x = F.relu(F.linear(x, p["fc7.weight"], p["fc7.bias"])) * mask(7, step, 256)
    return F.linear(x, p["fc8.weight"], p["fc8.bias"])


def kept(name, tensor):
    """All numbers, but only every fourth row of fc7's weights: no file over 100 KB."""
    rows = slice(None, None, 4) if name == "fc7.weight" else slice(None)
    return tensor.detach().numpy()[rows].astype(np.float32)


def main():
    p = {}
    for i, (name, shape) in enumerate(LAYERS):
        fan_in = int(np.prod(shape[1:]))
        w = normals(2 * (i + 1), int(np.prod(shape))) * math.sqrt(2 / fan_in)
        p[f"{name}.weight"] = torch.from_numpy(w.astype(np.float32).astype(np.float64).reshape(shape))
        p[f"{name}.bias"] = torch.full((shape[0],), np.float32(BIAS.get(name, 0.0)), dtype=torch.float64)
    start = {k: v.clone() for k, v in p.items()}
    momentum = {k: torch.zeros_like(v) for k, v in p.items()}
    pixels, labels = pictures()
    mean = 30.0
    x, labels = torch.from_numpy(pixels.astype(np.float64) - mean), torch.from_numpy(labels)
    losses, gradients = [], None
    for step in range(STEPS):
        for v in p.values():
            v.requires_grad_(True)
        loss = F.cross_entropy(forward(x, p, step), labels)
        g = dict(zip(p, torch.autograd.grad(loss, list(p.values()))))
        losses.append(loss.item())
        gradients = gradients or g
        for k in p:
            w = p[k].detach()
            momentum[k] = MOMENTUM * momentum[k] - DECAY * RATE * w - RATE * g[k]
            p[k] = w + momentum[k]
    print("losses", [round(l, 5) for l in losses], "fell by", 1 - losses[-1] / losses[0])
    about = {"made_by": f"tests/golden/make.py, torch {torch.__version__}, float64, seed {SEED}"}
    for what, values in [
        ("gradient", gradients), ("momentum", momentum),
        ("update", {k: p[k] - start[k] for k in p}),
    ]:
        for part, keep in [("conv", "conv"), ("fc6-fc8", ("fc6", "fc8")), ("fc7", "fc7")]:
            tensors = {k: kept(k, v) for k, v in values.items() if k.startswith(keep)}
            save_file(tensors, f"{HERE}/{what}-{part}.safetensors", metadata=about)
    save_file({"losses": np.array(losses)}, f"{HERE}/losses.safetensors", metadata=about)


if __name__ == "__main__":
    main()
