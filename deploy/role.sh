#!/bin/sh
# Runs one role of a run, or a question about it, in a container of the compose files: turns the
# settings in .env into a command line. `docker run IMAGE …` runs the program itself.
set -euf

fail() { echo "error: $*" >&2; exit 1; }

run=/run/alexnet
# --insecure (no certificates) is safe here: all containers share a private network on this machine.
coordinator=coordinator:4000
data=${DATA:-}
recipe=${RECIPE:-$([ -n "$data" ] && echo caffe || echo demo)}
[ -n "${RUST_LOG:-}" ] || unset RUST_LOG
export NO_COLOR=1 # Docker stores the output

# Prints the side of the stored pictures, the same that `alexnet up` chooses.
side() {
    case $recipe in demo) echo 72 ;; cifar10-*) echo 32 ;; *) echo 256 ;; esac
}

# Sets `pictures` to the built-in pictures, to DATA (mounted at /data), or to the prepared form of
# DATA in the volume /prepared. Letters that a folder's name shall not have are left out of it, so
# a digest of DATA tells folders with similar names apart.
find_pictures() {
    side=${SIDE:-$(side)}
    if [ -z "$data" ]; then
        pictures=synthetic:$side
    elif [ -z "$(ls -A /data)" ]; then
        fail "DATA=$data is an empty folder: it needs train/<class>/* and val/<class>/*, or the" \
            "output of \`alexnet prepare\`"
    elif alexnet inspect --quiet /data; then
        pictures=/data
    else
        readable=$(printf %s "$data" | tr -cs 'A-Za-z0-9.-' _ | tail -c 60)
        digest=$(printf %s "$data" | sha256sum | cut -c 1-12)
        pictures=/prepared/$readable-$digest-$side
        # A run that an earlier version began has its pictures under another name.
        old=/prepared/$(printf %s "$data-$side" | tr -cs 'A-Za-z0-9.-' _)
        if began_with "$old"; then pictures=$old; fi
    fi
}

# Says whether the run began with a folder that an earlier version prepared.
began_with() {
    [ -f "$1/dataset.json" ] && [ -f "$run/run.json" ] &&
        grep -q "$(sha256sum <"$1/dataset.json" | cut -c 1-64)" "$run/run.json"
}

# Prepares the pictures once, and again when they have changed: one loader does it, and the others
# wait for the lock. A run that has begun keeps the pictures that it began with.
prepare() {
    case $pictures in /prepared/*) ;; *) return 0 ;; esac
    exec 9>/prepared/lock
    flock 9
    said=$(alexnet prepare /data "$pictures" --refresh --run "$run" --side "$side" \
        --name "$(basename "$data")")
    printf '%s\n' "$said"
    pictures=$(printf '%s\n' "$said" | tail -n 1)
    exec 9>&-
}

role=$1
shift
case $role in
coordinator)
    for value in ${SET:-}; do set -- "$@" --set "$value"; done
    exec alexnet coordinator --listen 0.0.0.0:4000 --insecure --run "$run" --recipe "$recipe" \
        --linger 10 ${SEED:+--seed "$SEED"} \
        ${EPOCHS:+--epochs "$EPOCHS"} ${STEPS:+--steps "$STEPS"} \
        ${CHECKPOINT_EVERY:+--checkpoint-every "$CHECKPOINT_EVERY"} ${KEEP:+--keep "$KEEP"} \
        ${FROM_START:+--from-start} "$@"
    ;;
worker-*)
    cores=$(nproc)
    exec alexnet worker --listen 0.0.0.0:4002 --insecure --advertise "$role:4002" \
        --coordinator "$coordinator" \
        --device "${DEVICE:-cpu:${THREADS:-$((cores > 1 ? cores / 2 : 1))}}" "$@"
    ;;
loader)
    find_pictures
    prepare
    # The container's own name, because there may be several loaders.
    exec alexnet loader --listen "$HOSTNAME:4001" --insecure --coordinator "$coordinator" \
        --data "$pictures" "$@"
    ;;
eval)
    find_pictures
    prepare
    exec alexnet eval "$run" --data "$pictures" "$@"
    ;;
predict | export | plot)
    exec alexnet "$role" "$run" "$@"
    ;;
status)
    # A run that has ended has no coordinator, so its directory is read.
    answer=$(alexnet status "$coordinator" "$@" 2>/dev/null) || answer=$(alexnet status "$run" "$@")
    printf '%s\n' "$answer"
    ;;
healthy)
    # Healthy: the coordinator answers, and it lists this worker or loader.
    case $1 in
    coordinator) listed=$run ;;
    loader) listed=$(hostname -i):4001 ;;
    *) listed=$1:4002 ;;
    esac
    alexnet status "$coordinator" | grep -qF "$listed"
    ;;
*)
    fail "unknown role $role: use coordinator, worker-a, worker-b, loader, eval, predict, export," \
        "plot or status"
    ;;
esac
