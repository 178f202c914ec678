#!/usr/bin/env python3
"""Prints ncu's counters (its CSV of raw metrics) as a table: a line per kernel, means over its
launches, the kernel that took longest first.

counters.py NCU_OUTPUT
"""

import csv
import sys
from collections import defaultdict

KERNEL, TIME = "Kernel Name", "gpu__time_duration.sum"


def number(text):
    return float(text.replace(",", "") or 0)


def main():
    with open(sys.argv[1], encoding="utf-8", errors="replace") as lines:
        rows = list(csv.reader(lines))
    start = next((i for i, row in enumerate(rows) if KERNEL in row and TIME in row), None)
    if start is None:
        sys.exit("ncu wrote no counters")
    header, width = rows[start], len(rows[start])
    launches = [dict(zip(header, row)) for row in rows[start + 2 :] if len(row) == width]
    if not launches:
        sys.exit("ncu saw no kernel")
    units = dict(zip(header, rows[start + 1]))
    metrics = [name for name in header if "__" in name]
    kernels = defaultdict(list)
    for launch in launches:
        kernels[launch[KERNEL].split("(")[0]].append(launch)
    for name in metrics:
        print(f"# {name} ({units[name]})")
    print("kernel launches", *[name.split(".")[0] for name in metrics])
    order = sorted(kernels, key=lambda kernel: -sum(number(row[TIME]) for row in kernels[kernel]))
    for kernel in order:
        rows = kernels[kernel]
        means = (sum(number(row[name]) for row in rows) / len(rows) for name in metrics)
        print(kernel, len(rows), *[f"{mean:.1f}" for mean in means])


main()
