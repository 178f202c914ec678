#!/usr/bin/env bash
# Builds the images that the tests of deploy/ start, alexnet-test:cpu and alexnet-test:gpu, and
# prints them with their sizes and the settings they were built with. Bases are this machine's own
# (deploy/base.sh) where it can make them, else the Dockerfile's. Quick when nothing has changed;
# images that an earlier source left behind are removed.
set -euo pipefail
cd "$(dirname "$0")/../.."
export DOCKER_BUILDKIT=0

bases=$(deploy/base.sh) || { echo "no base images made here: building on the Dockerfile's own" >&2; bases=; }
arguments=()
for base in $bases; do arguments+=(--build-arg "$base"); done

# Compilers are found in no network: what the build needs is in its base.
[ -z "$bases" ] || arguments+=(--network none)

# Stages are images too, so that they are kept as a cache, and so that the tests can ask for them.
images="cpu"
case $bases in *NVRTC_BASE* | "") images="cpu gpu" ;; esac
for target in dependencies build $images; do
    image=alexnet-test:$target
    before=$(docker image inspect --format '{{.Id}}' "$image" 2>/dev/null || true)
    docker build --quiet --file deploy/Dockerfile --target "$target" --tag "$image" "${arguments[@]}" . >/dev/null
    after=$(docker image inspect --format '{{.Id}}' "$image")
    if [ -n "$before" ] && [ "$before" != "$after" ]; then docker rmi "$before" >/dev/null 2>&1 || true; fi
done

for base in $bases; do echo "$base"; done
docker image inspect --format '{{index .RepoTags 0}} {{.Size}}' $(printf 'alexnet-test:%s ' $images)
