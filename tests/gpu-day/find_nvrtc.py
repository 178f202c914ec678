#!/usr/bin/env python3
"""Prints the NVRTC of this machine: that of this Python's packages (PyTorch brings one), or of a
toolkit; the newest of several, nothing if there is none."""

import glob
import re
import site
import sysconfig

PACKAGES = [sysconfig.get_paths()["purelib"], *site.getsitepackages(), site.getusersitepackages()]
TOOLKITS = ["/usr/local/cuda*/lib64", "/usr/local/cuda*/targets/*/lib", "/opt/cuda/lib64"]


def version(path):
    """The numbers behind `.so.`, to sort by."""
    return [int(number) for number in re.findall(r"\d+", path.rpartition(".so.")[2])]


def main():
    folders = [f"{packages}/nvidia/*/lib" for packages in PACKAGES]
    for places in (folders, TOOLKITS):
        found = [path for place in places for path in glob.glob(f"{place}/libnvrtc.so.*")]
        found = [path for path in found if not path.endswith(".alt")]
        found = [path for path in found if version(path) >= [12]]
        if found:
            print(max(found, key=version))
            return


main()
