#!/usr/bin/env bash
# Installs, builds, and runs every test through ctest. Arguments go to ctest, e.g. -R Scheduler.
set -euo pipefail
cd "$(dirname "$0")/.."
launch/install.sh --tests > /dev/null
launch/build.sh cpu-release
ctest --test-dir build/cpu-release --output-on-failure -j "$(nproc)" "$@"
