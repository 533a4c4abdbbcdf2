#!/usr/bin/env bash
# Configures and builds one preset (default cpu-release) into build/<preset>.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${1:-cpu-release}
cmake --preset "$preset"
cmake --build --preset "$preset"
