#!/usr/bin/env bash
# The first script on a GPU machine: is everything right? At most 7 minutes.
#
#   bash .gpuday/device1.sh [--stand-in]
#
# Facts of the machine; operations and networks on the GPU against f64 and the CPU; memory and race
# checkers; the prototype on tensor cores against f64.
limit=420
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# What is asked of the tests, and of the checkers, which are slow.
operations=(cuda::)
networks=(cuda:: kernels::products_of_every timing::timing_changes timing::gpus_are_timed)
if [ -n "$stand_in" ]; then
    operations=(cuda::pool cuda::activation cuda::sgd cuda::softmax)
    networks=(cuda::a_device_that timing::gpus_are_timed)
fi
checked=(cuda::conv cuda::fc cuda::softmax cuda::pool cuda::transfer)
raced=(cuda::fc::agrees cuda::softmax cuda::conv::gives_the_same)

# Runs tests one by one and writes what came of them: what did not run is never green.
tests() { # WHAT LOG SECONDS PROGRAM NAMES...
    local what=$1 log=$2 most=$3 status=0 result
    shift 3
    try "$log" "$most" "$@" --test-threads=1 --nocapture || status=$?
    result=$(sed -n 's/^test result: //p' "$logs/$log.log" | tail -n 1 | cut -d';' -f1-3)
    if [ "$status" -ne 0 ]; then
        red "$what" "${result:-$(why "$status" "$log")}"
        grep -E -A 3 'FAILED|panicked' "$logs/$log.log" | head -n 40
    elif grep -q 'ok\. 0 passed' <<<"$result" || grep -q 'skipped:' "$logs/$log.log"; then
        red "$what" "not run: $(grep -m 1 'skipped:' "$logs/$log.log" || echo "$result")"
    else
        ok "$what" "$result"
    fi
    local left_out
    left_out=$(grep -c 'not for a real GPU:' "$logs/$log.log")
    [ "$left_out" -eq 0 ] || note "$what" "$left_out of them are not for a real GPU:"
    sed -n 's/^test \(.*\) \.\.\. not for a real GPU: \(.*\)/\1\t\2/p' "$logs/$log.log" |
        while IFS=$'\t' read -r test reason; do note "  $test" "$reason"; done
}

# Runs tests under a tool of the compute sanitizer.
checker() { # TOOL SECONDS NAMES...
    local tool=$1 most=$2 status=0 summary
    shift 2
    has compute-sanitizer || { absent "$tool" "there is no compute-sanitizer" && return; }
    try "$tool" "$most" compute-sanitizer --tool "$tool" --error-exitcode 9 \
        "$bin/ops" "$@" --test-threads=1 || status=$?
    summary=$(grep -E 'SUMMARY' "$logs/$tool.log" | tail -n 1 | tr -d '=')
    if [ "$status" -eq 0 ] && [ -n "$summary" ]; then
        ok "$tool" "$summary"
    elif grep -qi 'not supported' "$logs/$tool.log"; then
        absent "$tool" "$(grep -i -m 1 'not supported' "$logs/$tool.log" | tr -d '=')"
    else
        red "$tool" "$(why "$status" "$tool")"
    fi
}

say facts
if has nvidia-smi; then
    try nvidia-smi 20 nvidia-smi --format=csv,noheader \
        --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.sm,power.limit
    note "card, driver, memory, clocks, power" "$(head -n 1 "$logs/nvidia-smi.log")"
else
    absent "card" "there is no nvidia-smi"
fi
note "NVRTC" "$NVRTC"
note "driver's library" "${driver:-not found}"
note "kit" "$(paste -sd, "$kit/origin"), stand-in: ${stand_in:-no}"
note "processors" "$(nproc)"
here=$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)
needed=$(cat "$kit/glibc")
if [ "$(printf '%s\n' "$here" "$needed" | sort -V | head -n 1)" = "$needed" ]; then
    ok "C library" "$here here, $needed needed"
else
    red "C library" "$here here, $needed needed: build the kit on an older system"
fi

say "the program finds the GPU and NVRTC"
# There is no coordinator; the worker is ended once it has opened its device.
[ -z "$stand_in" ] || export VIRTUAL_ENV=${NVRTC%%/nvidia/*}
timeout 20 "$bin/alexnet" worker --device cuda:0 \
    --coordinator 127.0.0.1:1 --kernel-cache "$work/worker-cache" >"$logs/worker.log" 2>&1 &
worker=$!
until grep -q opened "$logs/worker.log" || ! kill -0 "$worker" 2>/dev/null; do sleep 0.1; done
kill "$worker" 2>/dev/null
wait "$worker"
if grep -q opened "$logs/worker.log"; then
    ok "the program by itself" "$(grep -m 1 -oE 'NVRTC [0-9]+\.[0-9]+' "$logs/worker.log")"
else
    red "the program by itself" "$(tail -n 1 "$logs/worker.log" | cut -c1-120)"
fi

say "operations against f64"
tests "operations" operations 100 "$bin/ops" "${operations[@]}"
say "networks against the CPU"
tests "networks" networks 150 "$bin/system" "${networks[@]}"

say "memory and races"
checker memcheck 80 "${checked[@]}"
checker racecheck 60 "${raced[@]}"

say "prototype on tensor cores against f64"
if ! python3 -c 'import numpy' 2>/dev/null; then
    absent "prototype" "there is no numpy"
elif try prototype 40 python3 "$kit/prototype/check.py" "$driver" "$NVRTC"; then
    ok "prototype" "$(tail -n 1 "$logs/prototype.log")"
else
    red "prototype" "$(why $? prototype)"
fi
