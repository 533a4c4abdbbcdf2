#!/usr/bin/env bash
# Checks and measures Lockstep on a machine with one NVIDIA GPU, in under nine minutes: facts of the
# machine, tests, sanitizers, several ranks on the one GPU, a model against a reference, own kernels
# beside PyTorch's, and decoding in the shape of an 8B Llama. It asks for Python 3, for CUDA 13's
# libraries and NCCL (PyTorch's own do), and for no network. See bench/gpu/README.md.
#
#   bench/gpu.sh --bundle lockstep-0.1.0-cuda-release.tar.xz [--out FOLDER] [--only STAGE]...
#   bench/gpu.sh --dry-run          what each stage would run, and what is missing
exec "${PYTHON:-python3}" "$(dirname "$(readlink -f "$0")")/gpu/suite.py" "$@"
