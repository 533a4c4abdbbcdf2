#!/usr/bin/env bash
# Installs, builds, and runs every test through ctest. Arguments go to ctest, e.g. -R Scheduler.
# Where nvcc is, the CUDA bodies are built for one architecture as well and their tests run; without
# a GPU those are skipped, by name.
set -euo pipefail
cd "$(dirname "$0")/.."
launch/install.sh --tests > /dev/null
launch/build.sh cpu-release

if nvcc=$(PATH="$PATH:${CUDA_HOME:-/usr/local/cuda}/bin" command -v nvcc); then
  echo "tests: CUDA, with $nvcc"
  # The CPU's objects come out of ccache: they are compiled as in cpu-release.
  launch/build.sh cuda-release lockstep cuda_suite
  ctest --test-dir build/cuda-release --output-on-failure -L cuda "$@"
else
  echo "tests: no nvcc in PATH or /usr/local/cuda/bin: CUDA is not compiled, its tests do not run"
fi

ctest --test-dir build/cpu-release --output-on-failure -j "$(nproc)" "$@"
