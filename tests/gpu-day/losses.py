#!/usr/bin/env python3
"""Compares the losses of two runs step by step; fails where they are too far apart.

losses.py RUN_DIRECTORY RUN_DIRECTORY
"""

import json
import sys

# Sums in another order differ by 1e-7; forty steps of training carry that on.
FARTHEST = 1e-2


def losses(run):
    """The loss of each step."""
    with open(f"{run}/metrics.jsonl", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    return [record["loss"] for record in records if record["kind"] == "step"]


def main():
    ours, theirs = (losses(run) for run in sys.argv[1:])
    if not ours or len(ours) != len(theirs):
        sys.exit(f"{len(ours)} and {len(theirs)} steps")
    apart = max(abs(a - b) / abs(b) for a, b in zip(ours, theirs))
    print(f"at most {apart:.1e} apart in {len(ours)} steps, of {FARTHEST:.0e} allowed")
    sys.exit(apart > FARTHEST)


main()
