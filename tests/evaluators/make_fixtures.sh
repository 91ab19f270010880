#!/bin/sh
# Make the figures that tests/evaluators/test_oracle.py compares ours with, by llama.cpp's own tools; and those of
# importance matrices (tests/evaluators/make_imatrix_fixtures.sh, which can be run alone).
#
# usage: tests/evaluators/make_fixtures.sh BIN [MODEL] [TEXT]
#
# BIN holds llama-quantize, llama-perplexity and llama-imatrix of the pinned version. To build them, about 10 minutes on 2 cores:
#   pip download --no-binary :all: --no-deps llama-cpp-python==0.3.36 && tar xf llama_cpp_python-0.3.36.tar.gz
#   cmake -G Ninja -S llama_cpp_python-0.3.36/vendor/llama.cpp -B oracle -DCMAKE_BUILD_TYPE=Release \
#       -DBUILD_SHARED_LIBS=ON -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF
#   ninja -C oracle llama-quantize llama-perplexity llama-imatrix   # BIN is oracle/bin
set -eu
bin=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
model=$(realpath "${2:-$here/../../demo/model/demo-F16.gguf}")
text=$(realpath "${3:-$here/../../demo/texts/search.txt}")
out=$here/fixtures
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
cd "$work"
export LD_LIBRARY_PATH="$bin" LC_ALL=C.UTF-8
ln -s "$model" F16.gguf

# llama-perplexity's log thread is not waited for at its end, so that the last lines may be missing: try again.
until_complete() { # LAST-LINE-PATTERN OUTPUT ARGUMENTS...
    pattern=$1
    output=$2
    shift 2
    for attempt in 1 2 3 4 5 6 7 8 9 10; do
        "$bin/llama-perplexity" -t 1 "$@" > stdout.txt 2> stderr.txt
        if grep -q "$pattern" stdout.txt stderr.txt; then
            cat stdout.txt stderr.txt | grep -E "$keep" | sed -E 's/^[0-9.]+ I //; s/.*(Final estimate)/\1/' > "$output"
            return
        fi
    done
    echo "llama-perplexity's output was incomplete ten times; see $work" >&2
    trap - EXIT
    exit 1
}

head -c 60000 "$text" | iconv -c -f UTF-8 -t UTF-8 > "$out/text.txt"
sha256sum < F16.gguf | cut -d ' ' -f 1 > "$out/model.sha256"

keep='^\[1\]|Final estimate'
until_complete 'Final estimate' "$out/perplexity.txt" -m F16.gguf -f "$out/text.txt" -c 256 --chunks 20
until_complete 'Final estimate' "$out/perplexity-chunk-longer-than-batch.txt" \
    -m F16.gguf -f "$out/text.txt" -c 512 -b 128 --chunks 4
until_complete 'Final estimate' "$out/perplexity-base.txt" \
    -m F16.gguf -f "$out/text.txt" -c 256 -b 512 --chunks 3 --kl-divergence-base base.kld
grep -o 'CPU : .*' stderr.txt > "$out/system_info.txt"
cp base.kld "$out/base.kld"

keep='±|KLD:|p:|Cor'
for preset in Q2_K Q4_K_M IQ4_XS; do
    "$bin/llama-quantize" F16.gguf "$preset.gguf" "$preset" 2 > quantize.txt 2>&1
    until_complete 'Same top p:' "$out/divergence-$preset.txt" \
        -m "$preset.gguf" -c 256 -b 512 --kl-divergence --kl-divergence-base base.kld
done
sh "$here/make_imatrix_fixtures.sh" "$bin"
ls -l "$out"
