"""PNG, GIF and WebP."""

import struct
import zlib

import numpy as np
from PIL import Image

from .files import PICTURE, PIXELS, over_white, refused, right, saved, scene
from .jpegs import exif


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, depth, color, rows, *chunks, interlace=0):
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", head)
        + b"".join(chunks)
        + png_chunk(b"IDAT", data)
        + png_chunk(b"IEND", b"")
    )


def interlaced(pixels, channels):
    rows = []
    for y0, x0, dy, dx in (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ):
        rows += [row.tobytes() for row in pixels[y0::dy, x0::dx]]
    return rows


def packed(gray, bits):
    rows = []
    for row in gray >> (8 - bits):
        text = "".join(format(v, f"0{bits}b") for v in row)
        text += "0" * (-len(text) % 8)
        rows.append(bytes(int(text[n : n + 8], 2) for n in range(0, len(text), 8)))
    return rows


def three(gray):
    return np.stack([gray] * 3, -1)


def pngs():
    gray = PIXELS[..., 0]
    height, width = gray.shape
    for bits in (1, 2, 4):
        value = (gray >> (8 - bits)).astype(int) * 255 // (2**bits - 1)
        right(f"png-gray-{bits}.png", png(width, height, bits, 0, packed(gray, bits)), three(value))
    right("png-gray-8.png", saved("PNG", Image.fromarray(gray)))
    deep = gray.astype(np.uint16) * 257
    right(
        "png-gray-16.png",
        png(width, height, 16, 0, [r.astype(">u2").tobytes() for r in deep]),
        three(gray),
    )
    right("png-rgb-8.png", saved("PNG"))
    wide = PIXELS.astype(np.uint16) * 256 + PIXELS[:, ::-1]
    right(
        "png-rgb-16.png",
        png(width, height, 16, 2, [r.astype(">u2").tobytes() for r in wide]),
        PIXELS,
    )
    alpha = np.dstack([PIXELS, PIXELS[::-1, ::-1, 1]])
    right("png-rgba-8.png", saved("PNG", Image.fromarray(alpha)))
    wide = alpha.astype(np.uint16) * 257
    right(
        "png-rgba-16.png",
        png(width, height, 16, 6, [r.astype(">u2").tobytes() for r in wide]),
        over_white(Image.fromarray(alpha)),
    )
    two = np.dstack([gray, PIXELS[..., 1]])
    right("png-gray-alpha-8.png", saved("PNG", Image.fromarray(two, "LA")))
    wide = two.astype(np.uint16) * 257
    right(
        "png-gray-alpha-16.png",
        png(width, height, 16, 4, [r.astype(">u2").tobytes() for r in wide]),
        over_white(Image.fromarray(two, "LA")),
    )
    for colors, bits in ((2, 1), (4, 2), (16, 4), (256, 8)):
        palette = PICTURE.quantize(colors)
        right(f"png-palette-{bits}.png", saved("PNG", palette, bits=bits))
        right(
            f"png-palette-{bits}-transparent.png",
            saved("PNG", palette, bits=bits, transparency=bytes([0, 128] + [255] * 30)[:colors]),
        )
    right("png-gray-key.png", saved("PNG", Image.fromarray(gray // 32 * 32), transparency=128))
    right(
        "png-rgb-key.png",
        saved("PNG", Image.fromarray(PIXELS // 64 * 64), transparency=(128, 128, 64)),
    )
    right(
        "png-interlaced-rgb.png",
        png(width, height, 8, 2, interlaced(PIXELS, 3), interlace=1),
        PIXELS,
    )
    right(
        "png-interlaced-gray.png",
        png(width, height, 8, 0, interlaced(gray, 1), interlace=1),
        three(gray),
    )
    frames = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
    right(
        "png-animated.png", saved("PNG", frames[0], save_all=True, append_images=frames[1:]), PIXELS
    )
    right(
        "png-animated-other-default.png",
        saved("PNG", frames[0], save_all=True, append_images=frames[1:], default_image=True),
        PIXELS,
    )
    right("png-exif-6.png", saved("PNG", exif=exif(6)[10:]))
    right(
        "png-gamma.png",
        png(
            width,
            height,
            8,
            2,
            [r.tobytes() for r in PIXELS],
            png_chunk(b"gAMA", struct.pack(">I", 100000)),
        ),
        PIXELS,
    )
    right(
        "png-text.png",
        png(
            width,
            height,
            8,
            2,
            [r.tobytes() for r in PIXELS],
            png_chunk(b"tEXt", b"Comment\0hello"),
        ),
        PIXELS,
    )
    right("png-behind-zeros.png", saved("PNG") + bytes(100))
    whole = saved("PNG")
    refused("png-cut.png", whole[: len(whole) // 2])
    refused("png-cut-in-header.png", whole[:20])
    right("png-1x1.png", saved("PNG", Image.fromarray(scene(1, 1))))


def gifs():
    palette = PICTURE.quantize(64)
    right("gif.gif", saved("GIF", palette))
    right("gif-interlaced.gif", saved("GIF", palette, interlace=1))
    right("gif-not-interlaced.gif", saved("GIF", palette, interlace=0))
    right("gif-transparent.gif", saved("GIF", palette, transparency=5))
    right("gif-gray.gif", saved("GIF", PICTURE.convert("L")))
    frames = [palette, Image.fromarray(255 - PIXELS).quantize(16)]
    right(
        "gif-animated.gif",
        saved("GIF", frames[0], save_all=True, append_images=frames[1:], duration=50),
    )
    right("gif-two-colors.gif", saved("GIF", PICTURE.convert("1")))
    right("gif-89a-comment.gif", saved("GIF", palette, comment=b"hello"))
    small = bytearray(saved("GIF", palette))
    at = small.index(b"\x2c\0\0\0\0")
    body = bytes(small)
    # The frame lies inside a larger screen, which is transparent around it.
    larger = (
        body[:6]
        + struct.pack("<HH", 60, 50)
        + body[10:at]
        + b"\x2c"
        + struct.pack("<HH", 7, 4)
        + body[at + 5 :]
    )
    around = np.full((50, 60, 3), 255, np.uint8)
    around[4:41, 7:52] = np.asarray(palette.convert("RGB"))
    right("gif-frame-inside.gif", larger, around)
    local = body[:10] + bytes([body[10] & 0x70]) + body[11:13]
    size = 3 * 2 ** ((body[10] & 7) + 1)
    colors = body[13 : 13 + size]
    image = (
        body[at : at + 9] + bytes([0x80 | body[at + 9] | (body[10] & 7)]) + colors + body[at + 10 :]
    )
    right("gif-local-palette.gif", local + image, np.asarray(palette.convert("RGB")))
    refused("gif-cut.gif", body[: len(body) // 2])


def webps():
    alpha = Image.fromarray(np.dstack([PIXELS, PIXELS[::-1, ::-1, 1]]))
    right("webp-lossy.webp", saved("WEBP", quality=90))
    right("webp-lossless.webp", saved("WEBP", lossless=True))
    right("webp-lossy-alpha.webp", saved("WEBP", alpha, quality=90))
    right("webp-lossless-alpha.webp", saved("WEBP", alpha, lossless=True))
    right("webp-palette.webp", saved("WEBP", PICTURE.quantize(8).convert("RGB"), lossless=True))
    right("webp-exif-6.webp", saved("WEBP", lossless=True, exif=exif(6)[4:]))
    frames = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
    right(
        "webp-animated.webp",
        saved("WEBP", frames[0], save_all=True, append_images=frames[1:], lossless=True),
    )
    right(
        "webp-animated-lossy.webp",
        saved("WEBP", frames[0], save_all=True, append_images=frames[1:], quality=90),
    )
    right(
        "webp-animated-alpha.webp",
        saved("WEBP", alpha, save_all=True, append_images=[alpha.rotate(180)], lossless=True),
    )
    right("webp-1x1.webp", saved("WEBP", Image.fromarray(scene(1, 1)), lossless=True))
    whole = saved("WEBP", lossless=True)
    refused("webp-cut.webp", whole[: len(whole) // 2])


def make():
    for part in (pngs, gifs, webps):
        part()
