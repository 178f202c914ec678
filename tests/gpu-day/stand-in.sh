#!/usr/bin/env bash
# On a machine without a GPU: runs the first script of the kit that prepare.sh has packed, much
# shortened, with the emulated driver standing in; then once more without NVRTC, which must fail.
#
#   tests/gpu-day/stand-in.sh
#
# The checkout is hidden meanwhile (by a mount namespace, which takes root): nothing of it is used.
# Needs the wheels of tests/cuda-tools.txt in target/cuda-tools.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
wheel=nvidia/cuda_nvrtc/lib
[ -f "$root/.gpuday/bin.tar.xz" ] || { echo "first: tests/gpu-day/prepare.sh" >&2 && exit 2; }
place=$(mktemp -d "${TMPDIR:-/tmp}/gpuday-stand-in.XXXXXX")
trap 'rm -rf "$place"' EXIT
cp -r "$root/.gpuday" "$place/"
mkdir -p "$place/$wheel"
cp "$root/target/cuda-tools/$wheel"/*.so* "$place/$wheel/"

hidden=(unshare --mount bash -c 'mount -t tmpfs none "$0" && cd "$1" && shift && exec "$@"' "$root")
if ! "${hidden[@]}" / true 2>/dev/null; then
    echo "the checkout is not hidden: no mount namespace can be made here"
    hidden=(bash -c 'cd "$1" && shift && exec "$@"' "$root")
fi
device1() { # NVRTC OUT
    NVRTC=$1 OUT=$2 "${hidden[@]}" "$place" bash .gpuday/device1.sh --stand-in
}

device1 "$place/$wheel/libnvrtc.so.12" "$place/out"
if device1 "$place/nowhere/libnvrtc.so.12" "$place/out-without" >"$place/log" 2>&1; then
    cat "$place/log"
    echo "without NVRTC nothing is red" >&2
    exit 1
fi
for what in operations networks; do
    grep "^red	$what	" "$place/out-without/device1.tsv" || {
        echo "without NVRTC $what are not red" >&2
        exit 1
    }
done
echo "without NVRTC it fails, as it must"
