#!/bin/sh
# Make the importance matrices and statistics that ours are compared with, by llama-imatrix of the pinned version.
#
# usage: tests/evaluators/make_imatrix_fixtures.sh BIN [PYTHON]        BIN as for make_fixtures.sh
#
# Of the bundled model with its imatrix text, and of a model of random weights with four experts a layer.
set -eu
bin=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
root=$(realpath "$here/../..")
python=${2:-$root/.venv/bin/python}
out=$here/fixtures/imatrix
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf "$out"
mkdir -p "$out"
cd "$root"
"$python" -c "
from pathlib import Path
from tests.evaluators.imatrix.models import experts_model
experts_model(Path('$work'))"
export LD_LIBRARY_PATH="$bin" LC_ALL=C.UTF-8 OMP_WAIT_POLICY=PASSIVE
ln -s "$root/demo/model/demo-F16.gguf" "$work/demo.gguf"
cd "$root/demo/texts"
collect() { # NAME CHUNKS OPTIONS...
    name=$1 chunks=$2
    shift 2
    "$bin/llama-imatrix" -m "$work/$name.gguf" -f imatrix.txt --chunks "$chunks" --no-ppl -t 1 "$@" > "$work/log" 2>&1
}
collect demo 3 -c 256 -b 512 -o "$out/demo.gguf"
collect experts 5 -c 128 -b 256 --process-output -o "$out/experts.gguf"
collect experts 5 -c 128 -b 256 --process-output -o "$out/experts.dat" --output-format dat
cd "$out"
complete() { # the second table has as many rows as its title says
    layers=$(sed -nE 's/.*per layer \(([0-9]+) layers\)/\1/p' "$1")
    [ -n "$layers" ] && [ "$(sed -n '/per layer/,$p' "$1" | grep -cE '^ +[0-9]+')" = "$layers" ]
}
for file in demo.gguf experts.gguf experts.dat; do
    # Its log thread is not waited for at the end, so that the last lines may be missing: try again.
    attempts=0
    until complete "$file.statistics.txt" 2> /dev/null; do
        attempts=$((attempts + 1))
        [ $attempts -le 200 ] || { echo "llama-imatrix's statistics of $file were incomplete 200 times" >&2; exit 1; }
        "$bin/llama-imatrix" --show-statistics --in-file "$file" -m unused > "$work/statistics" 2>&1
        tr -d '\r' < "$work/statistics" | sed -E 's/^[0-9.]+ [A-Z] //' > "$file.statistics.txt"
    done
done
sha256sum < "$work/demo.gguf" | cut -d ' ' -f 1 > demo.sha256
sha256sum < "$work/experts.gguf" | cut -d ' ' -f 1 > experts.sha256
