#!/usr/bin/env python3
"""Starts a run, kills one of its workers once, and ends as the run does.

kill_worker.py RUN_DIRECTORY STEP COMMAND...

The worker dies when the run has recorded the step.
"""

import os
import pathlib
import signal
import subprocess
import sys
import time


def worker_of(parent):
    """The process number of a worker among a process' children, None if there is none."""
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            # The name, in parentheses, may hold anything; behind it: state, parent.
            father = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended
        if father == parent and b"worker" in words:
            return int(process.name)
    return None


def steps(metrics):
    """How many steps a run has recorded."""
    return metrics.read_text().count('"kind":"step"') if metrics.exists() else 0


def main():
    run, step, command = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    up = subprocess.Popen(command)
    try:
        while up.poll() is None and steps(run / "metrics.jsonl") < step:
            time.sleep(0.02)
        worker = worker_of(up.pid)
        if worker is None:
            sys.exit("the run was over before a worker could be killed")
        os.kill(worker, signal.SIGKILL)
        print(f"killed worker {worker} after step {step}", flush=True)
        sys.exit(up.wait())
    finally:
        up.terminate()


main()
