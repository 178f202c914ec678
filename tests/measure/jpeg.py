#!/usr/bin/env python3
"""Measures how many pictures of a prepared folder libjpeg-turbo decodes per second on one core.

Compare it with the rows "JPEG decoding on one core" and "loader by itself" of `alexnet bench`.

    python3 -m venv target/pillow && target/pillow/bin/pip install pillow
    taskset -c 0 target/pillow/bin/python tests/measure/jpeg.py data/imagenette-224-256

Prints the rate three times. Pillow itself adds a little to the time of the library."""

import io
import sys
import tarfile
import time
from pathlib import Path

from PIL import Image, features

SECONDS = 4
MOST = 2000  # pictures that are decoded in turn


def jpegs(folder):
    """The training pictures that are stored as JPEG, in memory."""
    found = []
    for shard in sorted(Path(folder).glob("train-*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                data = tar.extractfile(member).read() if member.isfile() else b""
                if data.startswith(b"\xff\xd8"):
                    found.append(data)
                if len(found) == MOST:
                    return found
    return found


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: jpeg.py PREPARED_FOLDER")
    pictures = jpegs(sys.argv[1])
    if not pictures:
        sys.exit(f"{sys.argv[1]} has no training pictures that are stored as JPEG")
    version = features.version("libjpeg_turbo")
    if version is None:
        sys.exit("this Pillow does not use libjpeg-turbo: install a wheel of it with pip")
    print(f"libjpeg-turbo {version}, {len(pictures)} pictures")
    for _ in range(3):
        n, start = 0, time.monotonic()
        while time.monotonic() - start < SECONDS:
            Image.open(io.BytesIO(pictures[n % len(pictures)])).load()
            n += 1
        print(f"{n / (time.monotonic() - start):.0f} images/s")


main()
