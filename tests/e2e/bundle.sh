#!/usr/bin/env bash
# Unpacks the archive of launch/bundle.sh in a bare Debian 12, where neither Open MPI nor a library of
# Lockstep is installed, and serves the demo model there on two ranks as a user who is not root: the
# answer must have the same token ids as a server of this machine's build gives.
#
#   tests/e2e/bundle.sh ARCHIVE [BARE_DEBIAN]
#
# BARE_DEBIAN: a folder for what debootstrap makes, kept for the next run; default: made anew, about a
# minute. Needs root (chroot, mount), debootstrap, and build/cpu-release/lockstep. Not in ctest.
set -euo pipefail
cd "$(dirname "$0")/../.."

(($# == 1 || $# == 2)) || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
archive=$(readlink -f "$1")
say() { printf '%s\n' "bundle test: $*" >&2; }
die() { say "$*"; exit 1; }
((EUID == 0)) || die "needs root"

readonly user=4711
work=$(mktemp -d)
bare=${2:-$work/debian}
outside= inside= mounted=()

clean_up() {
  local pid folder
  for pid in $outside $inside; do kill -TERM "$pid" 2> /dev/null || true; done
  for pid in $outside $inside; do wait "$pid" 2> /dev/null || true; done
  for folder in "${mounted[@]}"; do umount "$folder" || say "still mounted: $folder"; done
  rm -rf --one-file-system "$bare/home/user" "$work"
}
trap clean_up EXIT

if [[ ! -x $bare/bin/sh ]]; then
  say "making a bare Debian 12 in $bare"
  debootstrap --variant=minbase bookworm "$bare" > "$work/debootstrap.log" 2>&1 ||
    { tail -5 "$work/debootstrap.log" >&2; die "debootstrap failed"; }
fi
for library in libmpi libzmq libhwloc libpmix; do
  [[ -z $(find "$bare/usr/lib" -name "$library*" -print -quit) ]] || die "$bare has $library"
done
mount_in() {
  mkdir -p "$bare/$1"
  mount "${@:2}" "$bare/$1"
  mounted=("$bare/$1" "${mounted[@]}")
}
mount_in proc -t proc proc
mount_in sys -t sysfs -o ro sysfs
mount_in dev/shm -t tmpfs -o mode=1777,size=256m tmpfs
chmod 1777 "$bare/tmp"
grep -q localhost "$bare/etc/hosts" 2> /dev/null ||
  printf '127.0.0.1 localhost %s\n' "$(hostname)" > "$bare/etc/hosts"

mkdir -p "$bare/home/user"
tar -xf "$archive" -C "$bare/home/user"
model=$(launch/install.sh 2> /dev/null)
cp "$model" "$bare/home/user/model.gguf"
chown -R "$user:$user" "$bare/home/user"
bundle=/home/user/$(ls "$bare/home/user" | grep '^lockstep-')

# Usage: in_bare <command...>. As the user, with an environment of nothing.
in_bare() {
  chroot --userspec="$user:$user" "$bare" \
    /usr/bin/env -i HOME=/home/user PATH=/usr/bin:/bin "$@"
}
# Usage: address <file>. Where the ready server whose words are in the file is to be asked.
address() { sed -n 's/^ready.*zmq=\([^ ]*\).*/\1/p' "$1"; }
# Usage: wait_ready <file> <pid>. Until the file has the line of a server that is ready; prints its pid.
wait_ready() {
  local tries
  for ((tries = 0; tries < 300; ++tries)); do
    grep -q '^ready' "$1" && { sed -n 's/^ready.*pid[= ]\([0-9]*\).*/\1/p' "$1"; return; }
    kill -0 "$2" 2> /dev/null || break
    sleep 0.2
  done
  cat "$1".log >&2
  die "a server did not become ready"
}

in_bare "$bundle/bin/lockstep" --version > /dev/null
[[ $(in_bare sh -c 'id -u') == "$user" ]] || die "runs as root"
options=(--threads 1 --max-model-len 512 --kv-cache-memory 32MiB)
question=(--prompt "The capital of France is" --max-tokens 24 --json)

OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 \
  mpirun -np 2 --oversubscribe --bind-to none build/cpu-release/lockstep serve "$model" \
  --zmq 'tcp://127.0.0.1:*' "${options[@]}" > "$work/outside" 2> "$work/outside.log" &
mpirun_outside=$!
outside=$mpirun_outside
outside=$(wait_ready "$work/outside" "$mpirun_outside")
build/cpu-release/lockstep generate --connect "$(address "$work/outside")" "${question[@]}" > "$work/outside.json"
kill -TERM "$outside"
wait "$mpirun_outside" || die "the server outside ended with $?"
outside=

in_bare "$bundle/bin/mpirun" -np 2 --oversubscribe --bind-to none lockstep serve /home/user/model.gguf \
  --zmq 'tcp://127.0.0.1:*' "${options[@]}" > "$work/inside" 2> "$work/inside.log" &
mpirun_inside=$!
inside=$mpirun_inside
inside=$(wait_ready "$work/inside" "$mpirun_inside")
# All libraries of the server come from the archive, but glibc's.
foreign=$(sed -n 's|^[^/]*\(/.*\.so[^ ]*\)$|\1|p' "/proc/$inside/maps" | sort -u |
  grep -v -e '/home/user/lockstep-' -e '/ld-linux' -e '/lib\(c\|m\|dl\|rt\|pthread\|resolv\|util\|anl\|nss_[a-z]*\)\.so') || true
[[ -z $foreign ]] || die "loaded from outside of the archive: $foreign"
! grep -i -e component_path -e "not found" -e "help file" "$work/inside.log" >&2 ||
  die "Open MPI misses files of its own"
in_bare "$bundle/bin/lockstep" generate --connect "$(address "$work/inside")" "${question[@]}" > "$work/inside.json"
kill -TERM "$inside"
wait "$mpirun_inside" || die "the server inside ended with $?"
inside=

tokens() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["token_ids"])' "$1"; }
[[ $(tokens "$work/inside.json") == "$(tokens "$work/outside.json")" ]] ||
  die "other tokens: $(tokens "$work/inside.json"), outside $(tokens "$work/outside.json")"
[[ $(tokens "$work/inside.json") == *,* ]] || die "no answer"
if [[ -x $bare$bundle/tests/base_test ]]; then
  in_bare sh -c "cd /tmp && $bundle/tests/kernels_test --gtest_brief=1 --gtest_filter=Philox*" >&2 ||
    die "a test program failed"
  in_bare "$bundle/bin/mpirun" -np 2 --oversubscribe "$bundle/tests/communicator_mpi_test" \
    collectives 2 >&2 || die "the MPI test failed"
fi
say "two ranks of user $user in a bare Debian answered the same tokens: $(tokens "$work/inside.json")"
