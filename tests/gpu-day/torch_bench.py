#!/usr/bin/env python3
"""Times a training step of the two-column AlexNet in PyTorch on one GPU: eager, compiled, and as a
graph, in fp32, TF32 and bf16. Prints rows of the table, the best of each precision last.

A step: pictures as bytes on the device, minus the mean, forward, loss, backward, SGD with momentum
0.9 and decay 5e-4."""

import signal
import sys
import time

import torch
import torch.nn.functional as F

from alexnet_torch import PARAMETERS, AlexNet, Lrn, NativeLrn, milliseconds, set_precision

BATCH, STEPS = 128, 40
# precision, memory format, compiled, as a graph, normalization; the cheap ones first.
VARIANTS = [
    ("fp32", "nchw", False, False, NativeLrn),
    ("fp32", "nchw", False, False, Lrn),
    ("tf32", "nhwc", False, False, Lrn),
    ("bf16", "nhwc", False, False, Lrn),
    ("bf16", "nhwc", True, True, Lrn),
    ("tf32", "nhwc", True, True, Lrn),
    ("fp32", "nchw", True, True, Lrn),
    ("bf16", "nhwc", True, False, Lrn),
]


def make_step(precision, layout, compiled, graph, lrn, device="cuda"):
    """A function that does one step."""
    torch.manual_seed(1)
    layout = torch.channels_last if layout == "nhwc" else torch.contiguous_format
    net = AlexNet(lrn).to(device, memory_format=layout).train()
    assert sum(p.numel() for p in net.parameters()) == PARAMETERS
    kind = {"foreach": True} if graph or device == "cpu" else {"fused": True}
    sgd = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4, **kind)
    pixels = torch.randint(0, 256, (BATCH, 3, 224, 224), dtype=torch.uint8, device=device)
    pixels = pixels.contiguous(memory_format=layout)
    label = torch.randint(0, 1000, (BATCH,), device=device)
    mean = torch.full((1, 3, 1, 1), 118.0, device=device)

    def loss_of(pixels, label):
        x = pixels.float() - mean
        bf16 = precision == "bf16"
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=bf16):
            y = net(x)
        return F.cross_entropy(y.float(), label)

    if compiled:
        loss_of = torch.compile(loss_of, mode="max-autotune-no-cudagraphs")

    def step():
        loss = loss_of(pixels, label)
        loss.backward()
        sgd.step()
        # A graph's gradients must stay where they are.
        sgd.zero_grad(set_to_none=not graph)
        return loss

    return step


def captured(step):
    """The step as a graph: warmed up on a stream of its own, as PyTorch asks for, then captured."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def time_one(variant, best):
    """Times one variant and writes its row; keeps the best of each precision."""
    precision, layout, compiled, graph, lrn = variant
    how = f"{'compiled' if compiled else 'eager'}{', graph' if graph else ''}, {layout}"
    if lrn is NativeLrn:
        how += ", PyTorch's own normalization"
    began = time.monotonic()
    try:
        set_precision(precision)
        step = make_step(*variant)
        for _ in range(3):
            step()
        times = milliseconds(captured(step) if graph else step, STEPS)
    except Exception as why:  # one variant that fails must not take the others with it
        reason = str(why).split("\n")[0].replace("\t", " ")[:120]
        print(f"red\tPyTorch {precision}, {how}\t\t\t{reason}", flush=True)
        return
    ms = times[len(times) // 2]
    detail = f"{BATCH / ms * 1e3:.0f} images/s, set up in {time.monotonic() - began:.0f} s"
    print(f"measured\tPyTorch {precision}, {how}\t{ms:.2f}\tms\t{detail}", flush=True)
    if precision not in best or ms < best[precision][0]:
        best[precision] = (ms, how)


def main():
    note = f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, batch {BATCH}"
    print(f"note\tPyTorch\t\t\t{note}", flush=True)
    # Cut off by a time limit, it still says what was best so far.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("cut off"))
    best = {}
    try:
        for variant in VARIANTS:
            time_one(variant, best)
    finally:
        for precision, (ms, how) in best.items():
            print(f"measured\ttorch_{precision}_ms\t{ms:.2f}\tms\tits best: {how}", flush=True)


if __name__ == "__main__":
    main()
