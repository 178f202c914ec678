# Sourced by device1.sh to device3.sh, which first say in `limit` how many seconds they may take;
# unpacks the kit, finds the driver and NVRTC, and has the words that write a table's rows.
#
# Results go to $OUT, or gpuday-out/ where it is not set: NAME.tsv row by row as they are known, and
# at the end NAME.txt (the table) and NAME-logs.tgz. So a script that is cut off leaves its rows.
#
# With --stand-in the emulated driver of the kit stands in for a GPU, and there is little to do: so
# the project's own CI sees that the scripts still work. NVRTC must be named then: $NVRTC.
set -uo pipefail
export LC_ALL=C.UTF-8 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
kit=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=$(basename "$0" .sh)
back=${OUT:-$PWD/gpuday-out}
work=$(mktemp -d "${TMPDIR:-/tmp}/gpuday.XXXXXX")
bin=$work/bin logs=$work/logs
mkdir -p "$bin" "$logs" "$back"
rows=$back/$name.tsv
: >"$rows"
stand_in=
[ "${1:-}" = --stand-in ] && stand_in=yes

# The last words of every script: table and logs are written whatever happened before.
finish() {
    local code=$?
    trap - EXIT
    python3 "$kit/table.py" "$rows" "$kit/predictions.tsv" >"$back/$name.txt" || code=1
    tar -czf "$back/$name-logs.tgz" -C "$logs" . || code=1
    say table
    cat "$back/$name.txt"
    rm -rf "$work"
    exit "$code"
}
trap finish EXIT
trap 'exit 143' TERM INT

say() { printf '\n== %s (%s s)\n' "$*" "$SECONDS"; }

# Rows of the table. A red one makes the script fail.
row() { # STATUS WHAT VALUE UNIT DETAIL
    local IFS=$'\t'
    echo "$*" >>"$rows"
    IFS=' ' && echo "$1: $2 ${3:-} ${4:-} ${5:-}"
}
ok() { row ok "$1" "" "" "${2:-}"; }
red() { row red "$1" "" "" "${2:-}"; }
absent() { row absent "$1" "" "" "${2:-}"; }
note() { row note "$1" "" "" "${2:-}"; }
measured() { row measured "$1" "$2" "$3" "${4:-}"; } # KEY VALUE UNIT DETAIL; keys: predictions.tsv

# Runs a command for at most so many seconds, never past the script's limit; its output is a log.
try() { # LOG SECONDS COMMAND...
    local log=$logs/$1.log most=$2 left=$((limit - SECONDS))
    shift 2
    [ "$left" -gt 0 ] || { echo "no time was left" >"$log" && return 124; }
    [ "$most" -le "$left" ] || most=$left
    timeout --kill-after=10 "$most" "$@" >"$log" 2>&1
}
# Why the last `try` failed: its exit status and the last line of its log.
why() { # STATUS LOG
    local words="exit status $1"
    [ "$1" -eq 124 ] && words="it did not end in time"
    echo "$words: $(tail -n 1 "$logs/$2.log" | tr '\t' ' ' | cut -c1-120)"
}
has() { command -v "$1" >/dev/null 2>&1; }
has_torch() { python3 -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null; }

tar_open() { python3 -c 'import sys, tarfile
tarfile.open(sys.argv[1]).extractall(sys.argv[2], filter="data")' "$@"; }
tar_open "$kit/bin.tar.xz" "$bin" || { red "the kit" "bin.tar.xz cannot be unpacked" && exit 1; }

# The driver: on the loader's path, or where containers have it.
if [ -n "$stand_in" ]; then
    mkdir "$work/driver"
    ln -s "$bin/libcuda_emulator.so" "$work/driver/libcuda.so"
    ln -s "$bin/libcuda_emulator.so" "$work/driver/libcuda.so.1"
    export CUDA_EMULATOR=devices=1,driver=13010,ptx_version=90
    LD_LIBRARY_PATH=$work/driver${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    driver=$work/driver/libcuda.so.1
else
    driver=$(ldconfig -p 2>/dev/null | awk '/libcuda\.so\.1 /{print $NF; exit}')
    for folder in /usr/local/nvidia/lib64 /usr/lib64-nvidia /usr/lib/wsl/lib; do
        [ -z "$driver" ] && [ -e "$folder/libcuda.so.1" ] && driver=$folder/libcuda.so.1
    done
    [ -n "$driver" ] && LD_LIBRARY_PATH=$(dirname "$driver")${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}

# NVRTC: as named, or wherever this machine has one.
export NVRTC=${NVRTC:-$(python3 "$kit/find_nvrtc.py")}
[ -n "$NVRTC" ] || { red "NVRTC" "none was found; name the library in NVRTC" && exit 1; }

# What carried tests need to know: tests/cuda-emulator/src/places.rs.
export CUDA_TEST=real ALEXNET_TEST_ROOT=$work ALEXNET_TEST_TMP=$work/tmp
export ALEXNET_TEST_PROGRAM=$bin/alexnet-under-test
