#!/usr/bin/env python3
"""Measures what the card can do at best, through PyTorch, as rows of the table: copies on the
device, copies between page-locked memory and the device, and large matrix products."""

import torch


def milliseconds(run, times=20):
    """The mean time of a run on the device."""
    for _ in range(3):
        run()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(times):
        run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / times


def row(key, value, unit, detail):
    print(f"measured\t{key}\t{value:.1f}\t{unit}\t{detail}", flush=True)


def copies():
    a = torch.randn(1 << 28, device="cuda")
    b = torch.empty_like(a)
    ms = milliseconds(lambda: b.copy_(a))
    row("copy on the device", 8 * a.numel() / ms / 1e6, "GB/s", "read + written")
    host = torch.empty(64 << 20, dtype=torch.uint8).pin_memory()
    device = torch.empty_like(host, device="cuda")
    ms = milliseconds(lambda: device.copy_(host, non_blocking=True))
    row("pinned_up_gbs", host.numel() / ms / 1e6, "GB/s", "64 MiB at once")
    ms = milliseconds(lambda: host.copy_(device, non_blocking=True))
    row("pinned_down_gbs", host.numel() / ms / 1e6, "GB/s", "64 MiB at once")


def products(side=8192):
    kinds = [("fp32", torch.float32, False), ("TF32", torch.float32, True)]
    for name, dtype, tf32 in [*kinds, ("bf16", torch.bfloat16, False)]:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a = torch.randn(side, side, device="cuda", dtype=dtype)
        b = torch.randn_like(a)
        ms = milliseconds(lambda: a @ b, 10)
        row(f"product of {side}³, {name}", 2 * side**3 / ms / 1e9, "TFLOP/s", "random numbers")


copies()
products()
