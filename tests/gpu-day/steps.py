#!/usr/bin/env python3
"""Prints the medians of a run's steps as a row of the table.

steps.py RUN_DIRECTORY KEY WARM_UP

The first WARM_UP steps, which compile kernels and fill caches, do not count.
"""

import json
import statistics
import sys

PARTS = [
    ("compute_ms", "compute"),
    ("exchange_wait_ms", "wait on bytes"),
    ("peer_late_ms", "other half late"),
    ("data_wait_ms", "wait on data"),
]


def main():
    run, key, warm_up = sys.argv[1:]
    with open(f"{run}/metrics.jsonl", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines if line.endswith("\n")]
    steps = [record for record in records if record["kind"] == "step"][int(warm_up) :]
    if not steps:
        sys.exit(f"{run} has no step after the first {warm_up}")

    def median(name):
        return statistics.median(step[name] for step in steps)

    parts = ", ".join(f"{words} {median(name):.2f}" for name, words in PARTS)
    detail = f"{median('images_per_s'):.0f} images/s; {parts} ms; {len(steps)} steps"
    print(f"measured\t{key}\t{median('step_ms'):.2f}\tms\t{detail}")


main()
