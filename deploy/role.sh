#!/bin/sh
# What a container of the compose files does: one role of a run, or a question about it. Makes the program's command line of
# the settings in .env; `docker run IMAGE …` reaches the program itself.
set -euf

fail() { echo "error: $*" >&2; exit 1; }

run=/run/alexnet
# All talk on a network of their own on this machine: --insecure below means, without certificates.
coordinator=coordinator:4000
data=${DATA:-}
recipe=${RECIPE:-$([ -n "$data" ] && echo caffe || echo demo)}
[ -n "${RUST_LOG:-}" ] || unset RUST_LOG
export NO_COLOR=1 # Docker keeps what is printed

# Side of the stored pictures, as `alexnet up` chooses it.
side() {
    case $recipe in demo) echo 72 ;; cifar10-*) echo 32 ;; *) echo 256 ;; esac
}

# Sets `pictures`: the built-in ones; DATA's, which lie in /data here; or what was made of those in the volume /prepared. Only
# one loader prepares, the others wait for it.
find_pictures() {
    side=${SIDE:-$(side)}
    if [ -z "$data" ]; then
        pictures=synthetic:$side
    elif [ -z "$(ls -A /data)" ]; then
        fail "DATA=$data is an empty folder: it holds train/<class>/* and val/<class>/*, or was made by \`alexnet prepare\`"
    elif [ -f /data/dataset.json ]; then
        pictures=/data
    else
        pictures=/prepared/$(printf %s "$data-$side" | tr -cs 'A-Za-z0-9.-' _)
    fi
}

prepare() {
    case $pictures in /prepared/*) ;; *) return 0 ;; esac
    exec 9>/prepared/lock
    flock 9
    if [ ! -f "$pictures/dataset.json" ]; then
        echo "DATA=$data isn't prepared yet: making pictures of side $side of it (once)"
        alexnet prepare /data "$pictures" --side "$side" --name "$(basename "$data")"
    fi
    exec 9>&-
}

role=$1
shift
case $role in
coordinator)
    for value in ${SET:-}; do set -- "$@" --set "$value"; done
    exec alexnet coordinator --listen 0.0.0.0:4000 --insecure --run "$run" --recipe "$recipe" --linger 10 \
        ${SEED:+--seed "$SEED"} ${EPOCHS:+--epochs "$EPOCHS"} ${STEPS:+--steps "$STEPS"} \
        ${CHECKPOINT_EVERY:+--checkpoint-every "$CHECKPOINT_EVERY"} ${KEEP:+--keep "$KEEP"} "$@"
    ;;
worker-*)
    cores=$(nproc)
    exec alexnet worker --listen 0.0.0.0:4002 --insecure --advertise "$role:4002" --coordinator "$coordinator" \
        --device "${DEVICE:-cpu:${THREADS:-$((cores > 1 ? cores / 2 : 1))}}" "$@"
    ;;
loader)
    find_pictures
    prepare
    # Its own name, not the service's: there may be several.
    exec alexnet loader --listen "$HOSTNAME:4001" --insecure --coordinator "$coordinator" --data "$pictures" "$@"
    ;;
eval)
    find_pictures
    exec alexnet eval "$run" --data "$pictures" "$@"
    ;;
predict | export | plot)
    exec alexnet "$role" "$run" "$@"
    ;;
status)
    # A run that is over has no coordinator. Its directory says how it stands.
    answer=$(alexnet status "$coordinator" "$@" 2>/dev/null) || answer=$(alexnet status "$run" "$@")
    printf '%s\n' "$answer"
    ;;
healthy)
    # The coordinator answers, and it knows this worker or loader.
    case $1 in coordinator) part=$run ;; loader) part=$(hostname -i):4001 ;; *) part=$1:4002 ;; esac
    alexnet status "$coordinator" | grep -qF "$part"
    ;;
*)
    fail "$role is no role: coordinator, worker-a, worker-b, loader, eval, predict, export, plot, status"
    ;;
esac
