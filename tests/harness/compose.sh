#!/usr/bin/env bash
# Puts Docker's plugins `compose` (2.x) and `buildx` into target/compose-tools/cli-plugins, from the
# packages of Debian trixie at the mirror that this machine's apt uses. Nothing is installed, and no
# list of this machine's apt is changed. Quick where they are already. The tests of deploy/ take
# Compose 2 where it is found, as in .ci/run:
#
#   tests/harness/compose.sh && export DOCKER_CONFIG=$PWD/target/compose-tools
set -euo pipefail
cd "$(dirname "$0")/../.."

release=trixie # bookworm has Compose 1.29 only
tools=$PWD/target/compose-tools
plugins=$tools/cli-plugins
if [ -x "$plugins/docker-compose" ] && [ -x "$plugins/docker-buildx" ]; then exit 0; fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The main archive of Debian that this machine's apt knows: neither its security nor its updates.
mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(SUITE) $(ORIGIN)' 'Identifier: Packages' |
    awk '$4 == "Debian" && $2 !~ /-/ { print $1; exit }')
[ -n "$mirror" ] || { echo "error: apt knows no mirror of Debian; run apt-get update" >&2; exit 1; }

mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/etc" "$plugins"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keyring] $mirror $release main" >"$work/sources.list"
apt=(-qq -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$work/lists"
    -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root)
apt-get "${apt[@]}" update
(cd "$work" && apt-get "${apt[@]}" download docker-compose docker-buildx)
for package in "$work"/*.deb; do dpkg-deb --extract "$package" "$work/root"; done
cp "$work"/root/usr/libexec/docker/cli-plugins/docker-* "$plugins/"
