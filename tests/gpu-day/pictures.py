#!/usr/bin/env python3
"""Makes JPEGs of 256 × 256 smooth noise in ten classes, which decode as fast as photographs.

pictures.py FOLDER NUMBER
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image


def make(folder, number):
    """One picture; each twentieth is for validation."""
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((256, 256), Image.BICUBIC), np.int16)
    pixels = np.clip(smooth + rng.integers(-12, 13, (256, 256, 1)), 0, 255).astype(np.uint8)
    split = "val" if number % 20 == 0 else "train"
    place = f"{folder}/{split}/class-{number % 10}"
    os.makedirs(place, exist_ok=True)
    Image.fromarray(pixels).save(f"{place}/{number:05d}.jpg", quality=90)


def main():
    folder, n = sys.argv[1], int(sys.argv[2])
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(lambda number: make(folder, number), range(n)))


main()
