#!/usr/bin/env python3
"""Names and files of what a kit takes along, from the messages of the cargo commands that built it.

built.py MESSAGES
"""

import json
import sys

# (name of the target, its kind) → name in the kit.
WANTED = {
    ("alexnet", "bin"): "alexnet",
    ("alexnet-under-test", "bin"): "alexnet-under-test",
    ("ops", "test"): "ops",
    ("ops", "bench"): "bench",
    ("system", "test"): "system",
}
EMULATOR = "libcuda_emulator.so"


def built(lines):
    """The kit's names with the files that cargo named last."""
    found = {}
    for line in lines:
        message = json.loads(line)
        if message.get("reason") != "compiler-artifact":
            continue
        target = message["target"]
        name = WANTED.get((target["name"], target["kind"][0]))
        if name and message["executable"]:
            found[name] = message["executable"]
        for file in message["filenames"]:
            if file.endswith("/" + EMULATOR):
                found[EMULATOR] = file
    return found


def main():
    with open(sys.argv[1], encoding="utf-8") as messages:
        found = built(messages)
    missing = {*WANTED.values(), EMULATOR} - found.keys()
    if missing:
        sys.exit(f"cargo built no {', '.join(sorted(missing))}")
    for name, file in found.items():
        print(name, file)


main()
