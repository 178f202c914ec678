#!/usr/bin/env python3
"""Breaks the CUDA kernels in every small way it knows and sees whether a test notices.

    tests/mutation/mutate.py [--sample N] [--only conv] [--list] [--waits]

Mutants: every barrier deleted; every bounds guard and part of one dropped; every condition (which
the accumulate flags are), choice (`c ? a : b`) and min/max decided one way and the other; every
loop one turn longer, unless it is unrolled over an array, where that means nothing; every index one
further. Each is compiled by NVRTC and run by `gpu-worker/tests/ops.rs` on the emulated driver, as
many at once as there are cores. Then every event wait of the transfer tests is dropped in turn by
the emulator (`drop_wait`). A mutant that every test survives is an error, unless equivalent.tsv
lists it with the proof that it computes the same. Needs the wheels of tests/cuda-tools.txt.
"""

import argparse
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

ROOT = pathlib.Path(__file__).resolve().parents[2]
KERNELS = ROOT / "gpu-worker" / "kernels"
EQUIVALENT = pathlib.Path(__file__).with_name("equivalent.tsv")
# Tests that use a file's kernels, beside those of the operation with its name.
USERS = {
    "philox": ["dropout"],
    "scale": ["scale", "transfer"],
    "reduce": ["fc", "conv"],
    "gemm_tile": ["fc", "conv"],
    "epilogue": ["fc", "conv"],
}
TIMEOUT_S = 300


def code(line):
    """The part of a line before its comment."""
    return line.split("//")[0]


def operand(text, at, step):
    """Where the operand of && or || that ends (step -1) or begins (step 1) at `at` stops."""
    depth = 0
    opening, closing = ("(", ")") if step == 1 else (")", "(")
    while 0 <= at < len(text):
        two = text[at:at + 2] if step == 1 else text[at - 1:at + 1]
        if text[at] in opening + ("[" if step == 1 else "]"):
            depth += 1
        elif text[at] in closing + ("]" if step == 1 else "["):
            if depth == 0:
                break
            depth -= 1
        elif depth == 0 and (text[at] in ";?:," or two in ("&&", "||")):
            break
        elif depth == 0 and text[at] == "=" and text[at - 1] not in "<>=!" and text[at + 1] != "=":
            break
        at += step
    return at


def arguments(text, at):
    """The first two arguments of the call whose parenthesis opens at `at`, and its end."""
    depth, start, parts = 0, at + 1, []
    for i in range(at, len(text)):
        if text[i] in "([":
            depth += 1
        elif text[i] in ")]":
            depth -= 1
            if depth == 0:
                return parts + [text[start:i]], i + 1
        elif text[i] == "," and depth == 1:
            parts.append(text[start:i])
            start = i + 1
    return [], len(text)


def line_mutants(line, unrolled):
    """(what, mutated line) for one line of code; `unrolled` if the line before says so."""
    body, comment = code(line), line[len(code(line)):]
    for m in re.finditer(r"__sync(threads|warp)\([^)]*\);", body):
        yield "no barrier", body[:m.start()] + body[m.end():] + comment
    for m in re.finditer(r"if \(.*\) return;", body):
        yield "no guard", body[:m.start()] + body[m.end():] + comment
    for m in re.finditer(r"\bif (?=\()", body):
        _, end = arguments(body, m.end())
        if not body[end:].strip().startswith("return;"):
            for value in ("true", "false"):
                yield f"condition {value}", f"{body[:m.end()]}({value}){body[end:]}{comment}"
    for m in re.finditer(r"&&|\|\|", body):
        left, right = operand(body, m.start() - 1, -1) + 1, operand(body, m.end(), 1)
        neutral = " true " if m.group() == "&&" else " false "
        yield "left condition dropped", body[:left] + neutral + body[m.start():] + comment
        yield "right condition dropped", body[:m.end()] + neutral + body[right:] + comment
    for m in re.finditer(r"\?", body):
        left = operand(body, m.start() - 1, -1) + 1
        for value in ("true", "false"):
            yield f"choice {value}", f"{body[:left]} {value} {body[m.start():]}{comment}"
    for m in re.finditer(r"\b(min|max|fmaxf|fmax)\(", body):
        parts, end = arguments(body, m.end() - 1)
        for number, part in enumerate(parts[:2]):
            yield f"{m.group(1)} argument {number}", f"{body[:m.start()]}({part}){body[end:]}{comment}"
    for m in re.finditer(r"\bfor \([^;]*;([^;]*);", body):
        condition = m.group(1)
        if not unrolled and re.search(r"[^<]<[^<=]", condition):
            longer = re.sub(r"([^<])<([^<=])", r"\1<=\2", condition, count=1)
            yield "loop longer", body[:m.start(1)] + longer + body[m.end(1):] + comment
    if "__shared__" not in body and "{{" not in body:
        for m in re.finditer(r"(?<=\w)\[", body):
            declared = re.match(r"\s*(const )?(unsigned|float4?|int2?|double|Words|char|struct)\b[^=]*$", body[:m.start()])
            if declared and "=" not in body[:m.start()]:
                continue
            end = operand(body, m.end(), 1)
            yield "index + 1", f"{body[:m.end()]}({body[m.end():end]}) + 1{body[end:]}{comment}"


def mutants(name):
    lines = (KERNELS / f"{name}.cu").read_text().split("\n")
    for number, line in enumerate(lines):
        if not code(line).strip() or code(line).startswith("#"):
            continue
        unrolled = lines[number - 1].strip() == "#pragma unroll"
        for count, (what, mutated) in enumerate(line_mutants(line, unrolled)):
            if mutated.strip() != line.strip():
                yield {
                    "file": name, "line": number + 1, "what": what, "number": count,
                    "before": line.strip(), "after": mutated.strip(),
                    "text": "\n".join(lines[:number] + [mutated] + lines[number + 1:]),
                }


def key(mutant):
    return "\t".join([mutant["file"], mutant["what"], str(mutant["number"]), mutant["before"]])


def equivalents():
    if not EQUIVALENT.exists():
        return {}
    rows = [row.split("\t") for row in EQUIVALENT.read_text().split("\n") if row and row[0] != "#"]
    return {"\t".join(row[:4]): row[4] for row in rows}


def build():
    # `--workspace` selects the features of CI's builds; for one package dependencies are built again.
    command = ["cargo", "test", "--workspace", "--test", "ops", "--no-run", "--message-format=json"]
    out = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    for line in out.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "ops":
            return message["executable"]
    sys.exit("cargo built no test `ops`")


def run(ops, *arguments, **environment):
    """(whether it succeeded, what it printed)"""
    try:
        done = subprocess.run(
            [ops, *arguments], cwd=ROOT / "gpu-worker", timeout=TIMEOUT_S,
            env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
    except subprocess.TimeoutExpired:
        return False, ""
    if "skipped:" in done.stdout:
        sys.exit(done.stdout)
    return done.returncode == 0, done.stdout


def tests(ops, modules):
    """Names of these operations' tests on the emulated driver."""
    names = run(ops, "--list", *[f"cuda::{module}::" for module in modules])[1]
    found = re.findall(r"^(cuda::(\w+)::\w+): test$", names, re.MULTILINE)
    if not found:
        sys.exit(f"no tests of {modules}")
    # In the order of `modules`, the quicker ones first.
    return [name for name, module in sorted(found, key=lambda test: modules.index(test[1]))]


def passes(ops, modules, **environment):
    """Whether every test of these operations passes; ends with the first that does not."""
    one_core = {"CUDA_EMULATOR": "threads=1"}
    return all(run(ops, "--exact", name, **one_core, **environment)[0] for name in tests(ops, modules))


def survives(ops, mutant):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for file in KERNELS.glob("*.cu"):
            shutil.copy(file, folder)
        (folder / f"{mutant['file']}.cu").write_text(mutant["text"])
        modules = USERS.get(mutant["file"], [mutant["file"]])
        return passes(ops, modules, CUDA_TEST_KERNELS=str(folder))


def waits(ops, sample):
    """Drops the event waits of the transfer tests, one a run; returns (how many, survivors)."""
    def transfers(setting):
        # One after the other: the n-th wait must be the same every time.
        return run(ops, "cuda::transfer::", "--test-threads=1", CUDA_EMULATOR=setting)[0]

    with tempfile.NamedTemporaryFile() as counters:
        if not transfers(f"counters={counters.name}"):
            sys.exit("the transfer tests fail without any mutant")
        total = max(json.loads(line)["waits"] for line in open(counters.name))
    every = range(1, total + 1, max(total // (4 * sample), 1) if sample else 1)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        survived = pool.map(lambda n: transfers(f"drop_wait={n}"), every)
    return len(every), [n for n, alive in zip(every, survived) if alive]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, help="this many of each file, always the same; and some event waits")
    parser.add_argument("--only", help="one kernel file, without .cu")
    parser.add_argument("--list", action="store_true", help="print the mutants, run nothing")
    parser.add_argument("--waits", action="store_true", help="only drop event waits")
    args = parser.parse_args()

    files = [args.only] if args.only else sorted(file.stem for file in KERNELS.glob("*.cu"))
    chosen = []
    for name in [] if args.waits else files:
        all_of_it = list(mutants(name))
        if args.sample and len(all_of_it) > args.sample:
            all_of_it = random.Random(name).sample(all_of_it, args.sample)
        chosen += all_of_it
    if args.list:
        for mutant in chosen:
            print(f"{mutant['file']}.cu:{mutant['line']} {mutant['what']}: {mutant['after']}")
        print(len(chosen), "mutants")
        return

    ops = build()
    every = sorted({module for name in files for module in USERS.get(name, [name])})
    if not passes(ops, every):
        sys.exit("the tests fail without any mutant")
    proven, killed, alive = equivalents(), 0, []
    equivalent = sum(key(mutant) in proven for mutant in chosen)
    tried = [mutant for mutant in chosen if key(mutant) not in proven]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for mutant, survived in zip(tried, pool.map(lambda mutant: survives(ops, mutant), tried)):
            if not survived:
                killed += 1
                continue
            alive.append(mutant)
            print(f"ALIVE {mutant['file']}.cu:{mutant['line']} {mutant['what']}\n  {mutant['after']}\n  {key(mutant)}", flush=True)
    print(f"kernels: {killed} of {len(chosen) - equivalent} killed, {equivalent} equivalent (listed with proof)")
    if not args.only:
        total, late = waits(ops, args.sample)
        print(f"event waits: {total - len(late)} of {total} killed{f', alive: {late}' if late else ''}")
        alive += late
    sys.exit(1 if alive else 0)


if __name__ == "__main__":
    main()
