#!/usr/bin/env bash
# Installs what is missing, builds, serves a real model on two ranks, asks it one question through
# the native client and one through HTTP, and stops.
set -euo pipefail
cd "$(dirname "$0")/.."

RANKS=2
READY_TIMEOUT_S=60
stage_begin=0
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[[ -t 1 ]] || say() { printf '\n%s\n' "$*"; }
begin_stage() { say "$*"; stage_begin=$(date +%s%N); }
end_stage() { printf '   (%.1f s)\n' "$(($(date +%s%N) - stage_begin))e-9"; }

scratch=$(mktemp -d)
mpirun_pid=
server_pid=
cleanup() {
  local status=$?
  trap - EXIT
  if [[ -n $mpirun_pid ]] && kill -0 "$mpirun_pid" 2> /dev/null; then
    kill -TERM "${server_pid:-$mpirun_pid}" 2> /dev/null || true
    for _ in $(seq 100); do kill -0 "$mpirun_pid" 2> /dev/null || break; sleep 0.1; done
    kill -KILL "$mpirun_pid" 2> /dev/null || true  # its ranks end within seconds
  fi
  if ((status != 0 && status != 130)) && [[ -s $scratch/log ]]; then
    echo "the demo ended with status $status; the server's log ends:" >&2
    tail -n 20 "$scratch/log" >&2
  fi
  rm -rf "$scratch"
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

begin_stage "1. Installing what is missing"
model=$(launch/install.sh | tail -1)
end_stage

begin_stage "2. Building"
launch/build.sh cpu-release lockstep
end_stage

lockstep=build/cpu-release/lockstep
http=127.0.0.1:$(free_port)
zmq=tcp://127.0.0.1:$(free_port)
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

begin_stage "3. Starting $RANKS ranks on $(basename "$model")"
command=(mpirun -np "$RANKS" --oversubscribe --bind-to none
  "$lockstep" serve "$model" --http "$http" --zmq "$zmq" --threads 1)
printf '   %s\n' "${command[*]}"
"${command[@]}" > "$scratch/out" 2> "$scratch/log" &
mpirun_pid=$!
for ((tenths = 0; tenths < READY_TIMEOUT_S * 10; ++tenths)); do
  grep -q '^ready' "$scratch/out" && break
  kill -0 "$mpirun_pid" 2> /dev/null || break
  sleep 0.1
done
if ! grep -q '^ready' "$scratch/out"; then
  echo "the server did not become ready" >&2
  exit 1
fi
server_pid=$(sed -n 's/^ready.* pid=\([0-9]*\).*/\1/p' "$scratch/out")
sed 's/^/   /' "$scratch/log"
sed -n 's/^ready/   &/p' "$scratch/out"
end_stage

begin_stage "4. A question through the native ZeroMQ client"
printf '   > What is the capital of France, and what is it known for?\n\n'
"$lockstep" generate --connect "$zmq" --chat --max-tokens 120 --stats \
  --prompt "What is the capital of France, and what is it known for?"
end_stage

begin_stage "5. A question through HTTP"
printf '   > Write one sentence about the sea.\n\n'
name=$(curl -sS --fail "http://$http/v1/models" | python3 -c 'import json, sys; print(json.load(sys.stdin)["data"][0]["id"])')
asked=$(date +%s%N)
curl -sS --fail "http://$http/v1/chat/completions" -H 'Content-Type: application/json' -d '{
  "model": "'"$name"'", "max_tokens": 80, "temperature": 0,
  "messages": [{"role": "user", "content": "Write one sentence about the sea."}]}' > "$scratch/reply"
elapsed=$(($(date +%s%N) - asked))
python3 - "$scratch/reply" "$elapsed" << 'PYTHON'
import json, sys
reply = json.load(open(sys.argv[1]))
usage = reply["usage"]
print(reply["choices"][0]["message"]["content"])
print(f'{usage["prompt_tokens"]} prompt tokens, {usage["completion_tokens"]} answer tokens; '
      f'{usage["completion_tokens"] / int(sys.argv[2]) * 1e9:.1f} tokens/s over the whole request')
PYTHON
end_stage

begin_stage "6. Stopping"
kill -TERM "$server_pid"
status=0
wait "$mpirun_pid" || status=$?
mpirun_pid=
echo "   all ranks have ended, mpirun with status $status"
end_stage
exit "$status"
