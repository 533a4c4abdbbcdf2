#!/usr/bin/env bash
# Installs, builds and runs every test.
set -euo pipefail
cd "$(dirname "$0")/.."
launch/install.sh
launch/build.sh cpu-release
ctest --test-dir build/cpu-release --output-on-failure
