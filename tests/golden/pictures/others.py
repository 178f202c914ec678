"""Files that are not read, and that are no pictures."""

import gzip
import struct

import imagecodecs

from .files import PICTURE, PIXELS, refused, saved, scene
from .jpegs import MP4
from .old import tiff


def make():
    refused("other-heic.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(range(1, 200)))
    refused("other-avif.avif", saved("AVIF"))
    refused("other-jpeg-2000.jp2", saved("JPEG2000"))
    refused("other-jpeg-2000.j2k", saved("JPEG2000", no_jp2=True))
    refused("other-jpeg-xl.jxl", imagecodecs.jpegxl_encode(PIXELS))
    refused("other-tga.tga", saved("TGA"))
    refused("other-tga-rle.tga", saved("TGA", compression="tga_rle"))
    refused("other-tga-gray.tga", saved("TGA", PICTURE.convert("L")))
    refused("other-ico.ico", saved("ICO", PICTURE.resize((32, 32))))
    refused("other-pcx.pcx", saved("PCX"))
    refused("other-qoi.qoi", imagecodecs.qoi_encode(PIXELS))
    refused("other-psd.psd", b"8BPS\0\1" + bytes(100))
    refused("other-svg.svg", b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>\n')
    refused("other-cr2.cr2", b"II*\0\x10\0\0\0CR\2\0" + bytes(100))
    refused("other-dng.dng", dng())
    refused("other-mp4.mp4", MP4)
    refused("other-mov.mov", b"\0\0\0\x14ftypqt  " + bytes(50))
    refused("other-pdf.pdf", b"%PDF-1.7\n%\xe2\xe3\n")
    refused(
        "other-page.jpg", b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head></html>"
    )
    refused("other-text.jpg", b"Dear diary, today I took no picture.\n")
    refused("other-json.jpg", b'{"error": "not found"}')
    refused("other-zip.jpg", b"PK\3\4" + bytes(60))
    refused("other-gzip.jpg", gzip.compress(b"hello", mtime=0))
    refused("other-zeros.jpg", bytes(4000))
    refused("other-empty.jpg", b"")


def dng():
    """A DNG's first directory is a thumbnail, which must not pass for the photo."""
    small = tiff(scene(16, 16))
    at = struct.unpack("<I", small[4:8])[0]
    n = struct.unpack("<H", small[at : at + 2])[0]
    entries = small[at + 2 : at + 2 + 12 * n] + struct.pack("<HHI4B", 0xC612, 1, 4, 1, 4, 0, 0)
    whole = small + struct.pack("<H", n + 1) + entries + bytes(4)
    return whole[:4] + struct.pack("<I", len(small)) + whole[8:]
