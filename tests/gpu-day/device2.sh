#!/usr/bin/env bash
# The second script on a GPU machine: how fast? At most 9 minutes; on the machine of the first.
#
#   bash .gpuday/device2.sh [--stand-in]
#
# The card's ceilings; our operations one by one; the full AlexNet at batch 128 with both halves on
# the one GPU; the prototype's products; PyTorch's two-column AlexNet on the same card.
limit=540
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# The work: the bench's, the number of pictures, a run's, the prototype's.
bench=() n_pictures=16000 prototype=()
run=(--recipe caffe --steps 110) warm_up=20
if [ -n "$stand_in" ]; then
    bench=(--images 1 --once) n_pictures=200 prototype=(--small)
    run=(--recipe demo --set batch=4 --steps 3) warm_up=1
fi

# Appends what a Python script measured as rows; it writes them to standard output.
rows_of() { # WHAT LOG SECONDS COMMAND...
    local what=$1 log=$2 status=0
    try "$log" "${@:3}" || status=$?
    grep -E $'^(measured|ok|red|absent|note)\t' "$logs/$log.log" | tee -a "$rows"
    [ "$status" -eq 0 ] || red "$what" "$(why "$status" "$log")"
}

say "ceilings of the card"
if has_torch; then
    rows_of "ceilings" ceilings 60 python3 "$kit/ceilings.py"
else
    absent "ceilings" "there is no PyTorch with a GPU"
fi

say "our operations, one by one"
rows_of "operations" operations 90 bash -c '
    "$1" --device cuda:0 --nvrtc "$NVRTC" "${@:4}" && python3 "$2" "$3"' _ \
    "$bin/bench" "$kit/operations.py" "$logs/operations.log" "${bench[@]}"
cat "$logs/operations.log"

say "pictures"
data=$work/prepared
if python3 -c 'import numpy, PIL' 2>/dev/null &&
    try pictures 60 python3 "$kit/pictures.py" "$work/pictures" "$n_pictures" &&
    try prepare 60 "$bin/alexnet" prepare "$work/pictures" "$data"; then
    ok "pictures" "JPEGs are decoded, as in a real run"
else
    data=synthetic:256
    absent "pictures" "made-up ones are computed in the loader: no numpy with PIL, or no time"
fi

# A run of the full network, both halves on the one GPU: medians of its steps.
train() { # NAME MORE_ARGUMENTS...
    local name=$1 status=0
    shift
    try "up-$name" 45 "$bin/alexnet" up "${run[@]}" --data "$data" --devices cuda:0,cuda:0 \
        --nvrtc "$NVRTC" --kernel-cache "$work/kernels" --loaders 2 --checkpoint-every 100000 \
        --timing-every 5 --run "$work/run-$name" "$@" || status=$?
    [ "$status" -eq 0 ] || red "run $name" "$(why "$status" "up-$name")"
    # A run that was cut off has medians too.
    rows_of "steps of run $name" "steps-$name" 10 \
        python3 "$kit/steps.py" "$work/run-$name" "step_${name}_ms" "$warm_up"
    try "timing-$name" 20 "$bin/alexnet" timing "$work/run-$name" ||
        red "layers of run $name" "$(why $? "timing-$name")"
}
say "the full AlexNet"
train fp32
cat "$logs/timing-fp32.log"
train wire_f16 --set wire=f16
train one_slice --set slices=1

say "prototype on tensor cores"
if python3 -c 'import numpy' 2>/dev/null; then
    rows_of "prototype" prototype 50 \
        python3 "$kit/prototype/bench.py" "$driver" "$NVRTC" "${prototype[@]}"
    cat "$logs/prototype.log"
else
    absent "prototype" "there is no numpy"
fi

say "PyTorch's AlexNet"
if has_torch; then
    rows_of "PyTorch" torch 240 python3 "$kit/torch_bench.py"
    cat "$logs/torch.log"
    rows_of "PyTorch's layers" torch-layers 60 python3 "$kit/torch_layers.py"
else
    absent "PyTorch" "there is no PyTorch with a GPU"
fi
