"""The list of files, the scene in them, and what makes and reads files of any kind."""

import gzip
import io
import os
import subprocess
import tarfile

import numpy as np
from PIL import Image, ImageOps

FILES = {}  # name: (bytes, PPM or None)


def scene(width=45, height=37):
    """Smooth, with strong colors, and different in every corner."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    x, y = x / max(width, 2), y / max(height, 2)
    red = 128 + 110 * np.sin(2.1 * x + 5 * y)
    green = 128 + 110 * np.cos(4.3 * x - 1.2 * y + 0.4)
    blue = 250 * x * (1 - y) + 60 * y * y
    return np.clip(np.stack([red, green, blue], -1), 0, 255).astype(np.uint8)


PIXELS = scene()
PICTURE = Image.fromarray(PIXELS)


def ppm(pixels):
    pixels = np.asarray(pixels, np.uint8)
    return b"P6\n%d %d\n255\n" % (pixels.shape[1], pixels.shape[0]) + pixels.tobytes()


def over_white(picture):
    picture = picture.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return np.asarray(Image.alpha_composite(white, picture).convert("RGB"))


def reference(data):
    """Pillow's first frame, upright, over white."""
    picture = Image.open(io.BytesIO(data))
    picture.load()
    picture = ImageOps.exif_transpose(picture)
    has_alpha = picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info
    return over_white(picture) if has_alpha else np.asarray(picture.convert("RGB"))


def right(name, data, pixels=None):
    assert name not in FILES, name
    try:
        FILES[name] = (data, ppm(reference(data) if pixels is None else pixels))
    except Exception as error:
        raise ValueError(name) from error


def refused(name, data):
    assert name not in FILES, name
    FILES[name] = (data, None)


def saved(kind, picture=PICTURE, **options):
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def run(*command, data):
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


def write(path):
    table = "".join(
        f"{name}\t{'refused' if ppm is None else 'right'}\n" for name, (_, ppm) in FILES.items()
    )
    with open(path, "wb") as file, gzip.GzipFile("", "wb", 9, file, 0) as packed_file:
        with tarfile.open(fileobj=packed_file, mode="w", format=tarfile.USTAR_FORMAT) as archive:

            def add(name, data):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))

            add("kinds.tsv", table.encode())
            for name, (data, pixels) in FILES.items():
                add(name, data)
                if pixels is not None:
                    add(name + ".ppm", pixels)
    print(len(FILES), "kinds,", os.path.getsize(path), "bytes")
