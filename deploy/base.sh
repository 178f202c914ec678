#!/usr/bin/env bash
# Makes the base images of deploy/Dockerfile on a machine that reaches no image registry. They come
# from Debian's apt mirror, this machine's Rust toolchain, the crates of Cargo.lock, and NVRTC if
# its wheel is in target/cuda-tools. The script prints the images as settings; after that, building
# the image needs no network:
#
#   deploy/base.sh >> deploy/.env
#
# It takes a minute and 2 GB of disk, and makes an image again only when the toolchain, Cargo.lock
# or the wheel has changed. It needs root and debootstrap.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "$*" >&2; }
fail() { say "error: $*"; exit 1; }
exists() { docker image inspect "$1" >/dev/null 2>&1; }
digest() { sha256sum | cut -c1-12; }

docker version >/dev/null 2>&1 || fail "no Docker Engine answers: start one"
command -v debootstrap >/dev/null || fail "debootstrap is missing: apt-get install debootstrap"
[ "$(id -u)" = 0 ] || fail "debootstrap makes device files: run this as root"

release=bookworm # as the Dockerfile's own base images
toolchain=$(rustc --print sysroot)
cargo_home=${CARGO_HOME:-$HOME/.cargo}
nvrtc=${CUDA_TOOLS:-target/cuda-tools}/nvidia/cuda_nvrtc/lib

# The tag of an image identifies its contents.
runtime=alexnet-base:$release
build=alexnet-base-rust:$({ rustc -vV; cat Cargo.lock; } | digest)
compiler=alexnet-base-nvrtc:$({ ls -s "$nvrtc" 2>/dev/null || true; } | digest)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root

# Prints the mirror from which this machine gets Debian's packages.
mirror() {
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(ORIGIN)' 'Identifier: Packages' |
        awk -v release="$release" '$2 == release && $3 == "Debian" { print $1; exit }'
}

# Debian with nothing but apt.
debian() {
    local mirror
    mirror=$(mirror)
    # apt lists a mirror only after an update.
    [ -n "$mirror" ] || { apt-get update -qq >&2 && mirror=$(mirror); }
    [ -n "$mirror" ] || fail "this machine's apt has no Debian $release"
    eval "$(apt-config shell http_proxy Acquire::http::Proxy https_proxy Acquire::https::Proxy)"
    export http_proxy https_proxy
    debootstrap --variant=minbase "$release" "$root" "$mirror" >"$work/log" 2>&1 ||
        { tail -n 20 "$work/log" >&2; fail "debootstrap failed: see its last lines above"; }
}

# Adds a compiler and linker, the toolchain, and the crates from this machine's cargo cache.
with_rust() {
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    chroot "$root" sh -c 'apt-get update -q &&
        apt-get install -qy --no-install-recommends gcc libc6-dev && apt-get clean' \
        >"$work/log" 2>&1 ||
        { tail -n 20 "$work/log" >&2; fail "gcc can't be installed: see apt's last lines above"; }
    cargo fetch --locked --quiet
    mkdir -p "$root/opt/rust" "$root/opt/cargo/registry"
    tar -C "$toolchain" --exclude=./share -c . | tar -C "$root/opt/rust" -x
    cp -r "$cargo_home/registry/index" "$cargo_home/registry/cache" "$root/opt/cargo/registry/"
    if [ -f "$cargo_home/config.toml" ]; then cp "$cargo_home/config.toml" "$root/opt/cargo/"; fi
}

# Imports the folder as an image with these changes.
import() {
    local image=$1
    shift
    say "making $image"
    tar -C "$root" --exclude=./var/lib/apt/lists/* --exclude=./var/cache/apt/* \
        --exclude=./usr/share/doc --exclude=./usr/share/man --exclude=./usr/share/locale -c . |
        docker import "$@" - "$image" >/dev/null
}

if ! exists "$runtime" || ! exists "$build"; then
    debian
    import "$runtime"
    with_rust
    import "$build" --change 'ENV PATH=/opt/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
        --change 'ENV CARGO_HOME=/opt/cargo' --change 'ENV CARGO_NET_OFFLINE=true'
fi
echo "BUILD_BASE=$build"
echo "RUN_BASE=$runtime"

if [ -f "$nvrtc/libnvrtc.so.12" ]; then
    if ! exists "$compiler"; then
        say "making $compiler"
        # Based on the runtime image, because the Dockerfile runs a shell in it.
        printf 'FROM %s\nCOPY libnvrtc.so.12 libnvrtc-builtins.so.12* /nvrtc/\n' "$runtime" |
            DOCKER_BUILDKIT=0 docker build --quiet --tag "$compiler" --file - "$nvrtc" >/dev/null
    fi
    echo "NVRTC_BASE=$compiler"
fi
