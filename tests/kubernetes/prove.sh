#!/usr/bin/env bash
# Trains the demonstration on a real Kubernetes 1.20 (cluster.sh), while pods are deleted at random,
# and compares the bits with those of an undisturbed training by the same image.
#
#   tests/kubernetes/prove.sh [DELETIONS]     default: 20
#
# Needs root and a Docker Engine. The cluster's programs are built into target/kubernetes once, which
# takes six minutes on two cores; the proof takes eight.
set -euo pipefail
cd "$(dirname "$0")/../.."
deletions=${1:-20}
export KUBERNETES_BUILD=$PWD/target/kubernetes
cluster=tests/kubernetes/cluster.sh
fail() { echo "error: $*" >&2; exit 1; }

# An image of earlier sources would be another build.
tests/harness/image.sh >/dev/null || fail "no image alexnet-test:cpu: see above"
tests/kubernetes/tools.sh
began=$SECONDS
$cluster build
echo "built in $((SECONDS - began)) s"

work=$(mktemp -d)
chmod 755 "$work"
trap '$cluster stop || true; rm -rf "$work"' EXIT
began=$SECONDS
$cluster start
eval "$($cluster env)"
echo "the cluster started in $((SECONDS - began)) s"

# The base with this image, and a volume by hand: the cluster has no storage class.
epochs=$((20 + 2 * deletions))
cp -r deploy/kubernetes "$work/manifests"
rm -rf "$work/manifests/base/certs"
alexnet() { # A command of the image, with $work as its disk.
    docker run --rm --network none --user 10001 --volume "$work:$work" alexnet-test:cpu "$@"
}
mkdir -m 777 "$work/made" "$work/run" "$work/undisturbed"
alexnet certs "$work/made/certs" >/dev/null
cp -r "$work/made/certs" "$work/manifests/base/certs"
mkdir "$work/manifests/test"
cat >"$work/manifests/test/kustomization.yaml" <<EOF
resources: [../base, volume.yaml]
images: [{name: alexnet, newName: alexnet-test, newTag: cpu}]
configMapGenerator:
  - {name: alexnet, behavior: merge, literals: [EPOCHS=$epochs]}
patches:
  # Several pods share two cores here.
  - target: {kind: (StatefulSet|Deployment)}
    patch: |-
      - {op: replace, path: /spec/template/spec/containers/0/resources, value: {}}
EOF
cat >"$work/manifests/test/volume.yaml" <<EOF
apiVersion: v1
kind: PersistentVolume
metadata: {name: run}
spec:
  capacity: {storage: 10Gi}
  accessModes: [ReadWriteOnce]
  hostPath: {path: $work/run}
EOF
target/kubernetes-tools/bin/kubectl kustomize "$work/manifests/test" >"$work/objects.yaml"
kubectl apply -f "$work/objects.yaml"
look() { # What there is to see after a failure.
    kubectl get pods --output wide
    for pod in $(pods :metadata.name); do
        echo "== $pod"
        kubectl logs "$pod" --tail 12
        kubectl logs "$pod" --previous --tail 12 2>/dev/null || true
    done
}
wait_until() { # SECONDS COMMAND…
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || { look >&2; fail "no success in time: $*"; }
        sleep 0.3
    done
}
pods() { kubectl get pods --no-headers --output custom-columns="$1"; }
ready() {
    [ "$(pods :status.containerStatuses[0].ready | grep -c true)" = 6 ] && [ "$(pods :metadata.name | wc -l)" = 6 ]
}
gone() { [[ $(pods :metadata.uid) != *"$1"* ]]; }
step() { tail -n 1 "$work/run/metrics.jsonl" 2>/dev/null | sed -n 's/.*"step":\([0-9]*\).*/\1/p'; }
reached() { [ "$(step)" -ge "$1" ] 2>/dev/null; }
began=$SECONDS
wait_until 120 ready
wait_until 60 reached 10
echo "all six pods are ready, and step 10 is done, $((SECONDS - began)) s after apply"

RANDOM=2012
for ((n = 1; n <= deletions; n++)); do
    mapfile -t names < <(pods :metadata.name)
    # Each pod once, the coordinator first, then any.
    if ((n <= ${#names[@]})); then name=${names[n - 1]}; else name=${names[RANDOM % ${#names[@]}]}; fi
    uid=$(kubectl get pod "$name" --output jsonpath={.metadata.uid})
    others=$(pods :metadata.name,:metadata.uid,:status.containerStatuses[0].restartCount | grep -v "^$name ")
    before=$(step)
    began=$(date +%s%N)
    kubectl delete pod "$name" --wait=false >/dev/null
    # The standby, or the pod that comes in its place, takes over.
    wait_until 120 reached $((before + 3))
    took=$((($(date +%s%N) - began) / 1000000))
    wait_until 120 gone "$uid"
    wait_until 120 ready
    now=$(pods :metadata.name,:metadata.uid,:status.containerStatuses[0].restartCount)
    grep -vq ' 0$' <<<"$now" && { look >&2; fail "a container was started again: $now"; }
    while read -r one; do
        grep -qxF "$one" <<<"$now" || fail "$name was deleted, and another pod changed: $one; now: $now"
    done <<<"$others"
    echo "$n: $name deleted at step $before; three more steps were done $took ms later"
done
ended() { kubectl logs alexnet-coordinator-0 --tail 200 | grep -q "finished after step"; }
wait_until 1200 ended
kubectl logs alexnet-coordinator-0 --tail 200 | grep "finished after step"
kubectl get pods
kubectl exec alexnet-coordinator-0 -- alexnet status /run/alexnet

# All pods at once get SIGTERM.
kubectl delete -f "$work/objects.yaml" --wait=false >/dev/null
nobody() { [ -z "$(kubectl get pods --no-headers 2>/dev/null)" ]; }
wait_until 90 nobody
echo "all objects are deleted"

alexnet up --recipe demo --epochs "$epochs" --devices cpu:1,cpu:1 --run "$work/undisturbed/run" | tail -n 3
last=$(cd "$work/undisturbed/run/checkpoints" && ls | tail -n 1)
for half in "$work/undisturbed/run/checkpoints/$last"/*.safetensors; do
    cmp "$half" "$work/run/checkpoints/$last/$(basename "$half")" || fail "other bits: $half"
done
echo "the same bits as undisturbed: $last, $(ls "$work/run/checkpoints/$last" | tr '\n' ' ')"
