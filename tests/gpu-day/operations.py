#!/usr/bin/env python3
"""Reads the bench's last line and prints it as rows: a step of both halves, one after the other.

operations.py BENCH_OUTPUT
"""

import re
import sys

SUMS = re.compile(r"products ([\d.]+) ms, other operations ([\d.]+) ms, transfers ([\d.]+) ms")


def main():
    with open(sys.argv[1], encoding="utf-8") as log:
        found = SUMS.search(log.read())
    if not found:
        sys.exit("the bench did not come to its end")
    products, memory, _ = (2 * float(ms) for ms in found.groups())
    detail = "twice one half's operations, each timed by itself"
    print(f"measured\tproducts_ms\t{products:.2f}\tms\t{detail}")
    print(f"measured\tmemory_bound_ms\t{memory:.2f}\tms\t{detail}")


main()
