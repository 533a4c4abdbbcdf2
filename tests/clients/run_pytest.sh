#!/usr/bin/env bash
# run_pytest.sh PYTHON ARGUMENT...: pytest, or exit code 77 (skipped) where it cannot be run.
set -euo pipefail
python=$1
shift
if [[ ! -x $python ]]; then
  echo "skipped: no $python: run launch/install.sh or configure with -DLOCKSTEP_PYTHON=..."
  exit 77
fi
if ! missing=$("$python" -c 'import msgpack, pytest, zmq' 2>&1); then
  echo "skipped: $python: ${missing##*$'\n'}: run launch/install.sh"
  exit 77
fi
exec "$python" -m pytest -q -p no:cacheprovider "$@"
