#!/usr/bin/env bash
# Configures and builds one preset (default cpu-release) into build/<preset>.
#
#   launch/build.sh [preset [target...]]     e.g. launch/build.sh cpu-asan shard_test
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${1:-cpu-release}
cmake --preset "$preset" > "${TMPDIR:-/tmp}/lockstep-configure.$$" ||
  { cat "${TMPDIR:-/tmp}/lockstep-configure.$$"; exit 1; }
rm -f "${TMPDIR:-/tmp}/lockstep-configure.$$"
cmake --build --preset "$preset" ${2:+--target "${@:2}"}
