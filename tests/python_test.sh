#!/usr/bin/env bash
# Runs pytest on the given files in the project's private Python environment; exit status 77 (for
# ctest: skipped) where it is not installed.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${LOCKSTEP_PYTHON:-.venv/bin/python}
if ! "$python" -c 'import msgpack, pytest, zmq' 2> /dev/null; then
  echo "$python lacks msgpack, pytest or zmq: run launch/install.sh --tests"
  exit 77
fi
PYTHONPATH=clients/python:tests/e2e exec "$python" -m pytest -q -p no:cacheprovider --durations=0 \
  --durations-min=1 -rs "$@"
