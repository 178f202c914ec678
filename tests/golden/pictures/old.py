"""TIFF, BMP and PNM."""

import struct

import numpy as np
from PIL import Image

from .files import PICTURE, PIXELS, ppm, refused, right, saved
from .web import packed, three


def tiffs():
    gray = PICTURE.convert("L")
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits"):
        right(f"tiff-{compression}.tif", saved("TIFF", compression=compression))
    right("tiff-jpeg.tif", saved("TIFF", compression="jpeg", quality=92))
    right("tiff-lzw-predictor.tif", saved("TIFF", compression="tiff_lzw", tiffinfo={317: 2}))
    right("tiff-gray.tif", saved("TIFF", gray))
    right("tiff-bits.tif", saved("TIFF", PICTURE.convert("1")))
    right("tiff-bits-group-4.tif", saved("TIFF", PICTURE.convert("1"), compression="group4"))
    refused("tiff-bits-group-3.tif", saved("TIFF", PICTURE.convert("1"), compression="group3"))
    refused("tiff-palette.tif", saved("TIFF", PICTURE.quantize(256)))
    alpha = np.dstack([PIXELS, PIXELS[::-1, ::-1, 1]])
    right("tiff-rgba.tif", saved("TIFF", Image.fromarray(alpha)))
    right("tiff-cmyk.tif", saved("TIFF", PICTURE.convert("CMYK")))
    refused("tiff-lab.tif", saved("TIFF", lab()))
    refused(
        "tiff-float.tif", saved("TIFF", Image.fromarray(PIXELS[..., 0].astype(np.float32) / 255))
    )
    refused(
        "tiff-int32.tif", saved("TIFF", Image.fromarray(PIXELS[..., 0].astype(np.int32) * 1000))
    )
    deep = PIXELS[..., 0].astype(np.uint16) * 257
    right("tiff-gray-16.tif", saved("TIFF", Image.fromarray(deep)), three(PIXELS[..., 0]))
    right("tiff-rgb-16.tif", tiff((PIXELS.astype(int) * 256 + 9).astype("<u2"), bits=16), PIXELS)
    right(
        "tiff-rgb-16-big.tif",
        tiff((PIXELS.astype(int) * 256 + 9).astype(">u2"), bits=16, order=">"),
        PIXELS,
    )
    right("tiff-big-endian.tif", tiff(PIXELS, order=">"), PIXELS)
    for bits in (2, 4):
        rows = b"".join(packed(PIXELS[..., 0], bits))
        refused(f"tiff-gray-{bits}.tif", tiff(PIXELS[..., :1], bits=bits, pieces=[rows]))
    right("tiff-planar.tif", tiff(PIXELS, planar=True), PIXELS)
    right("tiff-tiled.tif", tiff(PIXELS, tile=16), PIXELS)
    right(
        "tiff-gray-white-is-zero.tif",
        tiff(PIXELS[..., :1], photometric=0),
        three(255 - PIXELS[..., 0]),
    )
    for orientation in range(1, 9):
        right(f"tiff-orientation-{orientation}.tif", saved("TIFF", tiffinfo={274: orientation}))
    pages = [PICTURE, Image.fromarray(255 - PIXELS)]
    right("tiff-pages.tif", saved("TIFF", pages[0], save_all=True, append_images=pages[1:]), PIXELS)
    refused("tiff-ycbcr.tif", tiff(np.asarray(PICTURE.convert("YCbCr")), photometric=6))
    refused("tiff-zstd.tif", saved("TIFF", compression="zstd"))
    whole = saved("TIFF")
    refused("tiff-cut.tif", whole[: len(whole) // 2])


def lab():
    return Image.frombytes("LAB", PICTURE.size, PIXELS.tobytes())


def tiff(pixels, bits=8, order="<", photometric=None, planar=False, tile=0, pieces=None):
    """A TIFF of one directory, in one strip, a strip a plane, or tiles."""
    height, width, channels = pixels.shape
    photometric = (2 if channels == 3 else 1) if photometric is None else photometric
    if pieces:
        pass
    elif planar:
        pieces = [pixels[..., n].tobytes() for n in range(channels)]
    elif tile:
        padded = np.zeros(
            (-(-height // tile) * tile, -(-width // tile) * tile, channels), pixels.dtype
        )
        padded[:height, :width] = pixels
        pieces = [
            padded[y : y + tile, x : x + tile].tobytes()
            for y in range(0, padded.shape[0], tile)
            for x in range(0, padded.shape[1], tile)
        ]
    else:
        pieces = [pixels.tobytes()]
    data = b"".join(pieces)
    n = len(pieces)
    tags = {
        256: (3, [width]),
        257: (3, [height]),
        258: (3, [bits] * channels),
        259: (3, [1]),
        262: (3, [photometric]),
        277: (3, [channels]),
        284: (3, [2 if planar else 1]),
    }
    offsets = [8 + sum(map(len, pieces[:k])) for k in range(n)]
    if tile:
        tags |= {
            322: (3, [tile]),
            323: (3, [tile]),
            324: (4, offsets),
            325: (4, [len(p) for p in pieces]),
        }
    else:
        tags |= {273: (4, offsets), 278: (3, [height]), 279: (4, [len(p) for p in pieces])}
    at = 8 + len(data)
    at += at % 2
    more, entries = b"", b""
    for tag, (kind, values) in sorted(tags.items()):
        body = struct.pack(order + ("H" if kind == 3 else "I") * len(values), *values)
        if len(body) > 4:
            place = at + 2 + 12 * len(tags) + 4 + len(more)
            more += body
            body = struct.pack(order + "I", place)
        entries += struct.pack(order + "HHI", tag, kind, len(values)) + body.ljust(4, b"\0")
    magic = b"II*\0" if order == "<" else b"MM\0*"
    head = magic + struct.pack(order + "I", at)
    return (
        (head + data).ljust(at, b"\0")
        + struct.pack(order + "H", len(tags))
        + entries
        + bytes(4)
        + more
    )


def bmp_header(width, height, bits, compression=0, colors=0, size=0, header=40):
    return struct.pack(
        "<IiiHHIIiiII", header, width, height, 1, bits, compression, size, 2835, 2835, colors, 0
    )


def bmp(header, palette, body):
    offset = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + header + palette + body


def bmps():
    height, width = PIXELS.shape[:2]
    right("bmp-24.bmp", saved("BMP"))
    right("bmp-8-gray.bmp", saved("BMP", PICTURE.convert("L")))
    right("bmp-8-palette.bmp", saved("BMP", PICTURE.quantize(200)))
    right("bmp-1.bmp", saved("BMP", PICTURE.convert("1")))
    four = PICTURE.quantize(16)
    index = np.asarray(four)
    colors = np.array(four.getpalette()[:48] + [0] * 48, np.uint8)[:48].reshape(16, 3)
    quads = b"".join(bytes([b, g, r, 0]) for r, g, b in colors)
    line = lambda row: b"".join(
        bytes([row[x] << 4 | (row[x + 1] if x + 1 < len(row) else 0)])
        for x in range(0, len(row), 2)
    )
    padded = lambda data: data + bytes(-len(data) % 4)
    rows = b"".join(padded(line(row)) for row in index[::-1])
    right("bmp-4.bmp", bmp(bmp_header(width, height, 4, colors=16), quads, rows), colors[index])
    rle = b"".join(b"".join(bytes([1, v]) for v in row) + b"\0\0" for row in index[::-1]) + b"\0\1"
    quads = quads + bytes(4 * 240)
    right(
        "bmp-rle-8.bmp",
        bmp(bmp_header(width, height, 8, 1, 256, len(rle)), quads, rle),
        colors[index],
    )
    rle = (
        b"".join(b"".join(bytes([1, v << 4]) for v in row) + b"\0\0" for row in index[::-1])
        + b"\0\1"
    )
    right(
        "bmp-rle-4.bmp",
        bmp(bmp_header(width, height, 4, 2, 16, len(rle)), quads[:64], rle),
        colors[index],
    )
    top_down = b"".join(padded(row[:, ::-1].tobytes()) for row in PIXELS)
    right("bmp-top-down.bmp", bmp(bmp_header(width, -height, 24), b"", top_down), PIXELS)
    bottom_up = b"".join(padded(row[:, ::-1].tobytes()) for row in PIXELS[::-1])
    right(
        "bmp-os2.bmp", bmp(struct.pack("<IHHHH", 12, width, height, 1, 24), b"", bottom_up), PIXELS
    )
    fours = np.dstack([PIXELS[..., ::-1], np.zeros((height, width), np.uint8)])[::-1]
    right("bmp-32.bmp", bmp(bmp_header(width, height, 32), b"", fours.tobytes()), PIXELS)
    p = PIXELS.astype(np.uint16) >> 3
    fifteen = (p[..., 0] << 10 | p[..., 1] << 5 | p[..., 2])[::-1]
    rows = b"".join(padded(row.astype("<u2").tobytes()) for row in fifteen)
    right("bmp-16.bmp", bmp(bmp_header(width, height, 16), b"", rows), p.astype(int) * 255 // 31)
    masks = struct.pack("<III", 0xF800, 0x7E0, 0x1F)
    green = PIXELS[..., 1].astype(np.uint16) >> 2
    sixteen = (p[..., 0] << 11 | green << 5 | p[..., 2])[::-1]
    rows = b"".join(padded(row.astype("<u2").tobytes()) for row in sixteen)
    want = np.stack(
        [
            p[..., 0].astype(int) * 255 // 31,
            green.astype(int) * 255 // 63,
            p[..., 2].astype(int) * 255 // 31,
        ],
        -1,
    )
    right("bmp-16-masks.bmp", bmp(bmp_header(width, height, 16, 3), masks, rows), want)
    whole = saved("BMP")
    refused("bmp-cut.bmp", whole[: len(whole) // 2])


def pnms():
    gray = PIXELS[..., 0]
    height, width = gray.shape
    size = b"%d %d\n" % (width, height)
    right("pnm-p6.ppm", ppm(PIXELS), PIXELS)
    right("pnm-p5.pgm", b"P5\n" + size + b"255\n" + gray.tobytes(), three(gray))
    text = lambda values: b"\n".join(b" ".join(b"%d" % v for v in row) for row in values) + b"\n"
    right(
        "pnm-p3.ppm",
        b"P3\n# a comment\n" + size + b"255\n" + text(PIXELS.reshape(height, -1)),
        PIXELS,
    )
    right("pnm-p2.pgm", b"P2\n" + size + b"255\n" + text(gray), three(gray))
    bits = gray > 128
    rows = b"".join(np.packbits(~row).tobytes() for row in bits)
    right("pnm-p4.pbm", b"P4\n" + size + rows, three(bits * 255))
    right("pnm-p1.pbm", b"P1\n" + size + text((~bits).astype(int)), three(bits * 255))
    low = PIXELS // 16
    right("pnm-maxval-15.ppm", b"P6\n" + size + b"15\n" + low.tobytes(), low * 17)
    right(
        "pnm-maxval-100.pgm",
        b"P5\n" + size + b"100\n" + (gray // 3).tobytes(),
        three((gray // 3).astype(float) * 2.55 + 0.5),
    )
    deep = (PIXELS.astype(int) * 256 + PIXELS[::-1]).astype(">u2")
    right("pnm-16.ppm", b"P6\n" + size + b"65535\n" + deep.tobytes(), PIXELS)
    deep = (gray.astype(int) * 4).astype(">u2")
    right("pnm-10-bits.pgm", b"P5\n" + size + b"1023\n" + deep.tobytes(), three(gray))
    right(
        "pnm-p7.pam",
        b"P7\nWIDTH %d\nHEIGHT %d\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n" % (width, height)
        + PIXELS.tobytes(),
        PIXELS,
    )
    refused("pnm-cut.ppm", ppm(PIXELS)[:2000])


def make():
    for part in (tiffs, bmps, pnms):
        part()
