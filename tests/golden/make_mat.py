"""meta.mat of a development kit with two classes and their parent: python3 tests/golden/make_mat.py"""

import pathlib

import numpy as np
import scipy.io

FIELDS = "ILSVRC2012_ID WNID words gloss num_children children wordnet_height num_train_images".split()
SYNSETS = [
    (1, "n01", "tench, Tinca tinca", "a fish", 0, [], 0, 2),
    (2, "n02", "goldfish", "another fish", 0, [], 0, 2),
    (3, "n03", "fish", "their parent", 2, [1, 2], 1, 0),
]

synsets = np.zeros((len(SYNSETS), 1), dtype=[(field, "O") for field in FIELDS])
for i, synset in enumerate(SYNSETS):
    synsets[i, 0] = tuple(v if isinstance(v, str) else np.array(v, dtype=float, ndmin=2) for v in synset)
here = pathlib.Path(__file__).parent
for name, compressed in ("meta.mat", False), ("meta-compressed.mat", True):
    scipy.io.savemat(here / name, {"synsets": synsets}, do_compression=compressed)
