#!/usr/bin/env bash
# The third script on a GPU machine: is it repeatable, and why is it as fast as it is? At most 8
# minutes; of use once nothing of the first is red.
#
#   bash .gpuday/device3.sh [--stand-in]
#
# The same bits twice; the CPU's losses; the same bits after a worker was killed; hardware counters
# of each kernel of one step.
limit=480
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

gpus=(--devices cuda:0,cuda:0 --nvrtc "$NVRTC" --kernel-cache "$work/kernels")
steps=40 kill_after=20
demo=(up --recipe demo --set batch=64 --steps "$steps" --checkpoint-every 10)
if [ -n "$stand_in" ]; then
    steps=4 kill_after=2
    demo=(up --recipe demo --set batch=2 --steps "$steps" --checkpoint-every 1)
    demo+=(--data synthetic:72:40:8)
fi
last=checkpoints/step-$(printf '%08d' "$steps")

# A run of the demonstration.
train() { # NAME SECONDS MORE_ARGUMENTS...
    local run=$1 most=$2 status=0
    shift 2
    try "$run" "$most" "$bin/alexnet" "${demo[@]}" --run "$work/$run" "$@" || status=$?
    [ "$status" -eq 0 ] || red "run $run" "$(why "$status" "$run")"
    return "$status"
}
same_bits() { # WHAT RUN RUN
    local half
    for half in half-a half-b; do
        cmp "$work/$2/$last/$half.safetensors" "$work/$3/$last/$half.safetensors" ||
            { red "$1" "$half differs" && return; }
    done
    ok "$1" "both halves after $steps steps"
}

say "the same bits twice"
train first 60 "${gpus[@]}" && train again 60 "${gpus[@]}" &&
    same_bits "the same bits twice" first again

say "the CPU's losses"
half=$((($(nproc) + 1) / 2))
if train cpu 90 --devices "cpu:$half,cpu:$half"; then
    try losses 10 python3 "$kit/losses.py" "$work/first" "$work/cpu"
    status=$?
    detail=$(tail -n 1 "$logs/losses.log")
    [ "$status" -eq 0 ] && ok "the CPU's losses" "$detail" || red "the CPU's losses" "$detail"
fi

say "kill -9 of a worker"
if try killed 100 python3 "$kit/kill_worker.py" "$work/killed" "$kill_after" \
    "$bin/alexnet" "${demo[@]}" --run "$work/killed" "${gpus[@]}"; then
    same_bits "the same bits after kill -9 of a worker" first killed
else
    red "kill -9 of a worker" "$(why $? killed)"
fi

say "counters of each kernel"
metrics=sm__throughput.avg.pct_of_peak_sustained_elapsed
metrics+=,sm__inst_executed_pipe_fma.avg.pct_of_peak_sustained_active
metrics+=,smsp__issue_active.avg.pct,sm__warps_active.avg.pct_of_peak_sustained_active
metrics+=,dram__throughput.avg.pct_of_peak_sustained_elapsed,lts__t_sector_hit_rate.pct
metrics+=,l1tex__data_bank_conflicts_pipe_lsu.sum,gpu__time_duration.sum
if ! has ncu; then
    absent "counters" "there is no ncu"
else
    # The bench runs each operation of a half's step once, at its real size.
    try counters 200 ncu --clock-control none --csv --page raw --metrics "$metrics" \
        "$bin/bench" --device cuda:0 --nvrtc "$NVRTC" --once
    status=$?
    if python3 "$kit/counters.py" "$logs/counters.log" >"$back/counters.txt"; then
        ok "counters" "$(wc -l <"$back/counters.txt") lines in counters.txt"
        cat "$back/counters.txt"
    elif grep -q 'ERR_NVGPUCTRPERM\|LibraryNotLoaded' "$logs/counters.log"; then
        absent "counters" "this machine does not let ncu read them"
    else
        red "counters" "$(why "$status" counters)"
    fi
fi
