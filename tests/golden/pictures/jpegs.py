"""JPEGs: sampling, scans, restarts, colors, segments, endings, sizes."""

import io
import struct

import imagecodecs
import numpy as np
from PIL import Image

from .files import PICTURE, PIXELS, ppm, refused, right, run, saved, scene


def cjpeg(*options, pixels=PIXELS):
    return run("cjpeg", "-quality", "90", *options, data=ppm(pixels))


def scans(text, *options, tool="cjpeg", data=None):
    with open("/tmp/scans.txt", "w") as file:
        file.write(text)
    if tool == "cjpeg":
        return cjpeg("-scans", "/tmp/scans.txt", *options)
    return run("jpegtran", "-scans", "/tmp/scans.txt", data=data)


# Segments of a JPEG.


def segments(data):
    """(marker, start, end) up to the first scan's header, inclusive; then data begin at `end`."""
    at, found = 2, []
    while True:
        marker, length = data[at + 1], struct.unpack(">H", data[at + 2 : at + 4])[0]
        found.append((marker, at, at + 2 + length))
        at += 2 + length
        if marker == 0xDA:
            return found


def of(data, *markers):
    return next((start, end) for marker, start, end in segments(data) if marker in markers)


def without(data, *markers):
    for marker, start, end in reversed(segments(data)):
        if marker in markers:
            data = data[:start] + data[end:]
    return data


def segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def behind_soi(data, *more):
    return data[:2] + b"".join(more) + data[2:]


def changed(data, at, new):
    return data[:at] + new + data[at + len(new) :]


def sampled(data, *factors):
    start, _ = of(data, 0xC0, 0xC1, 0xC2)
    for n, factor in enumerate(factors):
        data = changed(data, start + 11 + 3 * n, bytes([factor]))
    return data


def exif(orientation, order="<", broken=None):
    magic = b"II" if order == "<" else b"MM"
    tiff = magic + struct.pack(order + "HIH", 42, 8, 1)
    tiff += struct.pack(order + "HHIHHI", 0x0112, 3, 1, orientation, 0, 0)
    if broken == "short":
        tiff = tiff[:15]
    if broken == "far":
        tiff = magic + struct.pack(order + "HI", 42, 0x7FFFFFFF)
    if broken == "magic":
        tiff = b"XX" + tiff[2:]
    return segment(0xE1, b"Exif\0\0" + tiff)


JFIF = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")


def adobe(transform):
    return segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))


MP4 = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(range(256)) * 8 + b"\xff\xd9 \xff\xda\0\x08"


def jpeg_sampling():
    for name in (
        "1x1",
        "2x1",
        "1x2",
        "2x2",
        "4x1",
        "4x2",
        "1x4",
        "2x4",
        "3x1",
        "1x3",
        "3x2",
        "2x3",
    ):
        data = cjpeg("-sample", name)
        right(f"jpeg-luma-{name}.jpg", data)
        right(f"jpeg-luma-{name}-progressive.jpg", cjpeg("-sample", name, "-progressive"))
    odd = {
        "chroma-larger": "1x1,2x2,2x2",
        "chroma-wider": "1x1,2x1,2x1",
        "chroma-unlike": "2x2,2x1,1x2",
        "chroma-red-whole": "2x2,1x1,2x2",
        "all-1x2": "1x2,1x2,1x2",
        "all-2x1": "2x1,2x1,2x1",
        "luma-2x2-chroma-2x1": "2x2,2x1,2x1",
        "luma-2x2-chroma-1x2": "2x2,1x2,1x2",
        "luma-4x1-chroma-2x1": "4x1,2x1,2x1",
    }
    for name, factors in odd.items():
        right(f"jpeg-{name}.jpg", cjpeg("-sample", factors))
        right(f"jpeg-{name}-progressive.jpg", cjpeg("-sample", factors, "-progressive"))
    refused("jpeg-fractions-3-2.jpg", sampled(cjpeg("-sample", "3x1"), 0x31, 0x21, 0x21))
    refused("jpeg-sampling-zero.jpg", sampled(cjpeg(), 0x22, 0x01, 0x11))
    refused("jpeg-sampling-five.jpg", sampled(cjpeg(), 0x55, 0x11, 0x11))


def jpeg_scans():
    apart = "0;\n1;\n2;\n"
    for name in ("1x1", "2x1", "1x2", "2x2", "4x1", "4x2"):
        right(f"jpeg-scan-each-{name}.jpg", scans(apart, "-sample", name))
        right(f"jpeg-scan-each-{name}-restarts.jpg", scans(apart, "-sample", name, "-restart", "1"))
    orders = {
        "chroma-first": "1;\n2;\n0;\n",
        "chroma-together": "0;\n1 2;\n",
        "luma-cb": "0 1;\n2;\n",
    }
    for name, script in orders.items():
        right(f"jpeg-scans-{name}.jpg", scans(script, "-sample", "2x2"))
        right(f"jpeg-scans-{name}-444.jpg", scans(script, "-sample", "1x1"))
    progressive = {
        "spectral": "0 1 2: 0-0, 0, 0;\n0: 1-5, 0, 0;\n0: 6-63, 0, 0;\n"
        "1: 1-63, 0, 0;\n2: 1-63, 0, 0;\n",
        "successive": "0 1 2: 0-0, 0, 2;\n0: 1-63, 0, 2;\n1: 1-63, 0, 2;\n2: 1-63, 0, 2;\n"
        "0 1 2: 0-0, 2, 1;\n0: 1-63, 2, 1;\n1: 1-63, 2, 1;\n2: 1-63, 2, 1;\n"
        "0 1 2: 0-0, 1, 0;\n0: 1-63, 1, 0;\n1: 1-63, 1, 0;\n2: 1-63, 1, 0;\n",
        "dc-apart": "0: 0-0, 0, 0;\n1: 0-0, 0, 0;\n2: 0-0, 0, 0;\n"
        "0: 1-63, 0, 0;\n1: 1-63, 0, 0;\n2: 1-63, 0, 0;\n",
        "each-coefficient": "0 1 2: 0-0, 0, 0;\n"
        + "".join(f"{c}: {k}-{k}, 0, 0;\n" for c in (0, 1, 2) for k in range(1, 16))
        + "".join(f"{c}: 16-63, 0, 0;\n" for c in (0, 1, 2)),
        "dc-refined-apart": "0: 0-0, 0, 1;\n1 2: 0-0, 0, 1;\n0: 1-63, 0, 0;\n1: 1-63, 0, 0;\n"
        "2: 1-63, 0, 0;\n0 1: 0-0, 1, 0;\n2: 0-0, 1, 0;\n",
    }
    for name, script in progressive.items():
        for sample in ("1x1", "2x2"):
            right(f"jpeg-progressive-{name}-{sample}.jpg", scans(script, "-sample", sample))
            more = ("-sample", sample, "-restart", "3B")
            right(f"jpeg-progressive-{name}-{sample}-restarts.jpg", scans(script, *more))


def jpeg_restarts():
    for every in ("1B", "2B", "5B", "7B", "1", "2", "100B"):
        for sample in ("1x1", "2x1", "2x2"):
            right(f"jpeg-restart-{every}-{sample}.jpg", cjpeg("-sample", sample, "-restart", every))
        right(f"jpeg-restart-{every}-progressive.jpg", cjpeg("-progressive", "-restart", every))
    right("jpeg-restart-gray.jpg", cjpeg("-grayscale", "-restart", "3B"))
    data = cjpeg("-restart", "2B")
    marks = [at for at in range(len(data) - 1) if data[at] == 0xFF and 0xD0 <= data[at + 1] <= 0xD7]
    refused("jpeg-restart-one-missing.jpg", data[: marks[1]] + data[marks[1] + 2 :])
    refused("jpeg-restart-segment-missing.jpg", data[: marks[1]] + data[marks[2] :])
    refused("jpeg-restart-segment-cut.jpg", data[: marks[1] - 40] + data[marks[1] :])
    refused("jpeg-restart-wrong-number.jpg", changed(data, marks[1] + 1, b"\xd5"))
    right("jpeg-restart-filled.jpg", data[: marks[1]] + b"\xff\xff" + data[marks[1] :])
    right(
        "jpeg-restart-extra-at-end.jpg",
        data[:-2] + bytes([0xFF, 0xD0 + len(marks) % 8]) + data[-2:],
    )
    plain = cjpeg()
    middle = segments(plain)[-1][2] + 300
    middle += plain[middle - 1] == 0xFF
    refused("jpeg-restart-not-announced.jpg", plain[:middle] + b"\xff\xd0" + plain[middle:])
    start, end = of(data, 0xDD)
    refused("jpeg-restart-interval-lost.jpg", data[:start] + data[end:])
    right("jpeg-restart-interval-zero.jpg", behind_soi(plain, segment(0xDD, b"\0\0")))
    refused("jpeg-restart-interval-wrong.jpg", behind_soi(plain, segment(0xDD, b"\0\3")))


def jpeg_colors():
    for sample in ("1x1", "2x2"):
        right(f"jpeg-gray-{sample}.jpg", cjpeg("-grayscale", "-sample", sample))
        right(
            f"jpeg-gray-{sample}-progressive.jpg",
            cjpeg("-grayscale", "-progressive", "-sample", sample),
        )
    right("jpeg-gray-declared-4x3.jpg", sampled(cjpeg("-grayscale"), 0x43))
    right("jpeg-gray-declared-2x1.jpg", sampled(cjpeg("-grayscale"), 0x21))
    right("jpeg-rgb-ids.jpg", cjpeg("-rgb"))
    right("jpeg-rgb-ids-progressive.jpg", cjpeg("-rgb", "-progressive"))
    right("jpeg-rgb-ids-without-adobe.jpg", without(cjpeg("-rgb"), 0xEE))
    right("jpeg-rgb-ids-2x2.jpg", cjpeg("-rgb", "-sample", "2x2"))
    ycc = without(cjpeg("-sample", "2x1"), 0xE0)
    right("jpeg-without-jfif.jpg", ycc)
    for transform in (0, 1, 2):
        right(f"jpeg-adobe-{transform}.jpg", behind_soi(ycc, adobe(transform)))
        right(f"jpeg-jfif-adobe-{transform}.jpg", behind_soi(ycc, JFIF, adobe(transform)))
        right(f"jpeg-adobe-{transform}-jfif.jpg", behind_soi(ycc, adobe(transform), JFIF))
    short = segment(0xEE, b"Adobe\0\x64\0\0")
    right("jpeg-adobe-short.jpg", behind_soi(ycc, short))
    start, _ = of(ycc, 0xC0)
    scan, _ = of(ycc, 0xDA)
    for name, ids in {
        "0-1-2": b"\0\1\2",
        "1-34-35": b"\1\x22\x23",
        "rgb-under-jfif": b"RGB",
    }.items():
        data = ycc
        for n in range(3):
            data = changed(data, start + 10 + 3 * n, ids[n : n + 1])
            data = changed(data, scan + 5 + 2 * n, ids[n : n + 1])
        right(f"jpeg-ids-{name}.jpg", behind_soi(data, JFIF) if "jfif" in name else data)
        right(f"jpeg-ids-{name}-adobe.jpg", behind_soi(data, adobe(1)))
    inks = PICTURE.convert("CMYK")
    black = np.asarray(inks).copy()
    black[..., 3] = scene()[..., 2] // 2
    inks = Image.fromarray(black, "CMYK")
    for name, options in {"": {}, "-progressive": {"progressive": True}}.items():
        data = saved("JPEG", inks, quality=92, **options)
        right(f"jpeg-cmyk{name}.jpg", data)
        right(f"jpeg-cmyk-without-adobe{name}.jpg", without(data, 0xEE))
        start, end = of(data, 0xEE)
        right(f"jpeg-ycck{name}.jpg", changed(data, start + 15, b"\2"))
        right(f"jpeg-inks-transform-1{name}.jpg", changed(data, start + 15, b"\1"))
    # Adobe's usual: luma and black whole, chroma halved.
    start, _ = of(cjpeg("-sample", "2x1"), 0xC0)
    ycck = imagecodecs.jpeg8_encode(
        np.asarray(inks), level=92, colorspace="CMYK", outcolorspace="YCCK", subsampling="420"
    )
    right("jpeg-ycck-2x2.jpg", ycck)


def jpeg_kinds():
    refused("jpeg-arithmetic.jpg", cjpeg("-arithmetic"))
    refused("jpeg-arithmetic-progressive.jpg", cjpeg("-arithmetic", "-progressive"))
    deep = (PIXELS.astype(np.uint16) << 4) + 7
    refused("jpeg-12-bit.jpg", imagecodecs.jpeg8_encode(deep, level=92, bitspersample=12))
    refused("jpeg-lossless.jpg", imagecodecs.ljpeg_encode(PIXELS[..., 0].copy()))
    refused("jpeg-lossless-rgb.jpg", imagecodecs.jpeg8_encode(PIXELS, lossless=True))
    right("jpeg-rgb-quarter.jpg", imagecodecs.jpeg8_encode(PIXELS, level=92, subsampling="420"))
    refused("jpeg-ls.jpg", imagecodecs.jpegls_encode(PIXELS))
    data = cjpeg()
    start, _ = of(data, 0xC0)
    height = data[start + 5 : start + 7]
    dnl = changed(data, start + 5, b"\0\0")
    refused("jpeg-height-follows.jpg", dnl[:-2] + segment(0xDC, height) + b"\xff\xd9")
    right("jpeg-height-follows-too.jpg", data[:-2] + segment(0xDC, height) + b"\xff\xd9")
    refused("jpeg-width-zero.jpg", changed(data, start + 7, b"\0\0"))
    right("jpeg-extended.jpg", changed(data, start + 1, b"\xc1"))
    refused("jpeg-hierarchical.jpg", changed(data, start + 1, b"\xc5"))
    right("jpeg-optimized.jpg", cjpeg("-optimize"))
    right("jpeg-quality-1.jpg", cjpeg("-quality", "1"))
    right("jpeg-quality-1-16-bit-tables.jpg", cjpeg("-quality", "2"))
    right("jpeg-quality-100.jpg", cjpeg("-quality", "100", "-sample", "1x1"))
    right("jpeg-qtables-16-bit.jpg", wide_tables(cjpeg()))
    right("jpeg-one-table-segment.jpg", saved("JPEG", quality=90, subsampling=1))
    right("jpeg-mjpeg-tables.jpg", data)
    refused("jpeg-without-huffman-tables.jpg", without(data, 0xC4))
    refused("jpeg-without-quantization.jpg", without(data, 0xDB))
    tables = [data[s:e] for m, s, e in segments(data) if m == 0xC4]
    right("jpeg-tables-twice.jpg", behind_soi(data, *tables))
    right(
        "jpeg-tables-in-one-segment.jpg",
        behind_soi(without(data, 0xC4), segment(0xC4, b"".join(t[4:] for t in tables))),
    )
    refused("jpeg-2-components.jpg", two_components(data))


def two_components(data):
    start, end = of(data, 0xC0)
    frame = segment(0xC0, data[start + 4 : start + 9] + b"\2" + data[start + 10 : start + 16])
    return data[:start] + frame + data[end:]


def wide_tables(data):
    for marker, start, end in reversed(segments(data)):
        if marker == 0xDB:
            body, wide = data[start + 4 : end], b""
            while body:
                wide += bytes([0x10 | body[0]]) + b"".join(
                    b"\0" + body[n : n + 1] for n in range(1, 65)
                )
                body = body[65:]
            data = data[:start] + segment(0xDB, wide) + data[end:]
    start, _ = of(data, 0xC0)
    return changed(data, start + 1, b"\xc1")


def jpeg_segments():
    data = cjpeg("-sample", "2x2")
    for orientation in range(1, 9):
        for order, name in (("<", "little"), (">", "big")):
            right(f"jpeg-exif-{orientation}-{name}.jpg", behind_soi(data, exif(orientation, order)))
    plain = np.asarray(Image.open(io.BytesIO(data)))
    for orientation in (0, 9, 300):
        right(f"jpeg-exif-{orientation}.jpg", behind_soi(data, exif(orientation)), plain)
    for broken in ("short", "far", "magic"):
        right(f"jpeg-exif-{broken}.jpg", behind_soi(data, exif(6, broken=broken)), plain)
    right("jpeg-exif-empty.jpg", behind_soi(data, segment(0xE1, b"Exif\0\0")), plain)
    naked = without(data, 0xE0)
    orders = {
        "exif-jfif": [exif(6), JFIF],
        "jfif-exif-adobe": [JFIF, exif(3), adobe(1)],
        "adobe-exif": [adobe(1), exif(8)],
        "xmp-exif": [segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>"), exif(6)],
        "exif-twice": [
            exif(6),
            segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>"),
            segment(0xE2, b"MPF\0II"),
        ],
        "every-app": [segment(0xE0 + n, b"something else " * 5) for n in range(16)],
        "comments": [segment(0xFE, b"A comment."), segment(0xFE, b"")],
        "icc": [segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(range(200)))],
        "icc-parts": [
            segment(0xE2, b"ICC_PROFILE\0" + bytes([n, 3]) + bytes(500)) for n in (2, 1, 3)
        ],
        "icc-part-missing": [segment(0xE2, b"ICC_PROFILE\0\2\3" + bytes(500))],
        "photoshop": [segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\0")],
        "preview-inside": [
            exif(1)[:-4] + b"",
        ],
        "jfxx-preview": [JFIF, segment(0xE0, b"JFXX\0\x10" + cjpeg(pixels=scene(8, 8)))],
    }
    preview = cjpeg(pixels=255 - scene(16, 16))
    tiff = b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHIHHI", 0x0112, 3, 1, 3, 0, 0)
    orders["preview-inside"] = [segment(0xE1, b"Exif\0\0" + tiff + preview)]
    for name, more in orders.items():
        right(f"jpeg-segments-{name}.jpg", behind_soi(naked, *more))
    right("jpeg-fill-bytes.jpg", data[:2] + b"\xff\xff\xff" + data[2:])
    right("jpeg-fill-before-end.jpg", data[:-2] + b"\xff\xff" + data[-2:])
    right("jpeg-zeros-before-end.jpg", data[:-2] + bytes(9) + data[-2:])
    at = of(data, 0xC4)[0]
    right("jpeg-junk-between-segments.jpg", data[:at] + b"\0\1\2junk" + data[at:])


def jpeg_ends():
    for name, options in {
        "": (),
        "-444": ("-sample", "1x1"),
        "-progressive": ("-progressive",),
        "-restarts": ("-restart", "2B"),
        "-gray": ("-grayscale",),
    }.items():
        data = cjpeg(*options)
        behind = {
            "mp4": MP4,
            "zeros": bytes(700),
            "second": data,
            "mpo": cjpeg(pixels=255 - PIXELS),
            "text": b"\r\n--boundary--\r\n",
            "markers": b"\xff\xda\0\x08\1\1\0\0\x3f\0" + bytes(50),
        }
        for what, more in behind.items():
            right(f"jpeg-behind-{what}{name}.jpg", data + more)
        whole = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        right(f"jpeg-without-end{name}.jpg", data[:-2], whole)
        right(f"jpeg-half-an-end{name}.jpg", data[:-1], whole)
        right(f"jpeg-end-zeros{name}.jpg", data[:-2] + bytes(300), whole)
        right(f"jpeg-end-mp4{name}.jpg", data[:-2] + MP4, whole)
        right(f"jpeg-end-second{name}.jpg", data[:-2] + data, whole)
        begins = segments(data)[-1][2]
        for part in (3, 30, 60, 95):
            cut = data[: begins + (len(data) - begins) * part // 100]
            cut = cut[:-1] if cut[-1] == 0xFF else cut
            refused(f"jpeg-cut-{part}{name}.jpg", cut)
            refused(f"jpeg-cut-{part}-ended{name}.jpg", cut + b"\xff\xd9")
            refused(f"jpeg-cut-{part}-mp4{name}.jpg", cut + b"\xff\xd9" + MP4)
        refused(f"jpeg-cut-in-header{name}.jpg", data[: begins // 2])
        middle = (begins + len(data)) // 2
        middle += data[middle - 1] == 0xFF
        refused(f"jpeg-middle-lost{name}.jpg", data[:middle] + data[middle + 120 :])
    data = cjpeg()
    for name, before in {
        "newline": b"\n",
        "crlf": b"\r\n",
        "blank": b" ",
        "zero": b"\0",
        "mark": b"\xef\xbb\xbf",
    }.items():
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        right(f"jpeg-after-{name}.jpg", before + data, pixels)


def jpeg_sizes():
    for width, height in (
        (1, 1),
        (2, 2),
        (3, 3),
        (7, 9),
        (8, 8),
        (9, 7),
        (16, 16),
        (17, 33),
        (1, 300),
        (900, 1),
        (3, 500),
        (600, 2),
        (33, 8),
        (31, 15),
    ):
        pixels = scene(width, height)
        for name, options in {
            "420": ("-sample", "2x2"),
            "422": ("-sample", "2x1"),
            "440": ("-sample", "1x2"),
            "444-progressive": ("-sample", "1x1", "-progressive"),
            "420-progressive": ("-sample", "2x2", "-progressive"),
        }.items():
            right(f"jpeg-{width}x{height}-{name}.jpg", cjpeg(*options, pixels=pixels))


def make():
    for part in (
        jpeg_sampling,
        jpeg_scans,
        jpeg_restarts,
        jpeg_colors,
        jpeg_kinds,
        jpeg_segments,
        jpeg_ends,
        jpeg_sizes,
    ):
        part()
