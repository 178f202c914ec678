"""Makes pictures.tar.gz: picture files of many kinds, and the pixels that each of them holds.

The pixels of a JPEG are those of libjpeg-turbo 3.2.0 (through Pillow 13.0.0); those of the other
kinds are Pillow's, or follow from how the file was made where Pillow rounds or clips. Files are
made by Pillow, by `cjpeg` and `jpegtran` (Debian's libjpeg-turbo-progs 2.1.5), by imagecodecs
2026.3.6 where nothing else writes a kind, and by changing bytes.

    pip install pillow==13.0.0 numpy imagecodecs==2026.3.6; apt-get install libjpeg-turbo-progs
    python3 tests/golden/make_pictures.py

The archive has a table `kinds.tsv` (file, `right` or `refused`), the files, and for each file
that is to be read a PPM with the right pixels. Nothing is random: the same versions make the same
archive.
"""

import os

from pictures import files, jpegs, old, others, web

for kinds in (jpegs, web, old, others):
    kinds.make()
files.write(os.path.join(os.path.dirname(os.path.abspath(__file__)), "pictures.tar.gz"))
