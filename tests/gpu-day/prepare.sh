#!/usr/bin/env bash
# Packs into .gpuday/ what a machine with a GPU runs without Rust and without sources: the program,
# its tests, the bench, and the scripts of this folder.
#
#   tests/gpu-day/prepare.sh [--profile release|dev]
#
# The program and the bench are built with the profile (release, which is what is timed, unless
# named); the tests always with dev. Needs cargo, python3, strip.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
kit=$root/.gpuday
profile=release
while [ $# -gt 0 ]; do
    case $1 in
        --profile) profile=${2:?--profile needs release or dev} && shift 2 ;;
        *) echo "prepare.sh: there is no option $1" >&2 && exit 2 ;;
    esac
done
case $profile in
    release | dev) ;;
    *) echo "prepare.sh: --profile release or dev" >&2 && exit 2 ;;
esac

# More than travels to a borrowed machine is of no use there.
most_mib=40

# Cargo's messages about what it has built; `--workspace` selects the features of CI's builds.
cargo_built() {
    cd "$root" && cargo "$@" --workspace --locked --message-format=json-render-diagnostics
}

rm -rf "$kit"
mkdir -p "$kit/bin"
case $profile in
    release)
        cargo_built build --release --bin alexnet >"$kit/built"
        cargo_built bench --no-run --bench ops >>"$kit/built"
        ;;
    dev)
        cargo_built build --bins >"$kit/built"
        cargo_built test --no-run --bench ops >>"$kit/built"
        ;;
esac
cargo_built test --no-run --test ops --test system >>"$kit/built"
python3 "$here/built.py" "$kit/built" | while read -r name file; do
    strip -o "$kit/bin/$name" "$file"
done
# The newest C library that any of them asks for; the GPU machine's must not be older.
objdump -T "$kit"/bin/* | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -1 | tr -d A-Z_ >"$kit/glibc"
{
    echo "commit $(git -C "$root" describe --always --dirty 2>/dev/null || echo unknown)"
    echo "profile $profile"
} >"$kit/origin"
tar -C "$kit/bin" -cf - . | xz -T0 -2 >"$kit/bin.tar.xz"
rm -r "$kit/bin" "$kit/built"
cp -r "$here"/*.sh "$here"/*.py "$here"/*.tsv "$here"/README.md "$here/prototype" "$kit/"
find "$kit" -name __pycache__ -prune -exec rm -r {} +
bytes=$(du -sb "$kit" | cut -f1)
awk -v bytes="$bytes" -v most="$most_mib" 'BEGIN {
    mib = bytes / 1048576
    printf ".gpuday holds %.1f MiB, of at most %d\n", mib, most
    exit mib > most
}'
