#!/usr/bin/env bash
# The pure tests and the tests with ranks as threads, under a sanitizer.
#
#   tests/sanitize.sh asan    addresses, leaks and undefined behaviour: every test program
#   tests/sanitize.sh tsan    data races: all but what goes through libzmq, which is not instrumented
#                             (the plan bus, links between stages, the sockets of coordinator and
#                             gateway), and CUDA kernels, which run on one thread here
set -euo pipefail
cd "$(dirname "$0")/.."

declare -A filters=()
case "${1:-}" in
  asan)
    programs=(base kernels comm model shard coordinator gateway)
    # Fibers are slow here: of the GPU's forward pass, what each of its parts is in once.
    filters[shard]='-GpuLlama.GivesTheSame*:GpuLlama.P*:GpuLlama.Kernels*:GpuLlama.AttendsByFa3*:GpuLlamaInvariance*:GpuStages.G*:GpuStages.R*:OneGpu.*:GpuTokenChoice.IsTheSame*'
    ;;
  tsan)
    programs=(base kernels comm model shard coordinator)
    filters[kernels]='-*Cuda*:*Execut*:*FlashInfer*:BlocksOfRanks*'
    filters[comm]='-PlanBus*:*PlanBus*:PrivateDirectory*:StageLink*'
    filters[shard]='-Cuda*:GpuLlama*:GpuLane*:*GpuRankMemory*:GpuStages*:GpuT*:GpuW*:GpuLoading.Makes*:OneGpu*:*Llama.GivesTheSameBitsInAPipeline*:LlamaInvariance.HoldsInAPipeline*'
    filters[coordinator]='-Engine*:*ClientSocket*:*PlanBus*'
    ;;
  *)
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac

launch/build.sh "cpu-$1" "${programs[@]/%/_test}"
for program in "${programs[@]}"; do
  echo "== $program"
  "build/cpu-$1/tests/${program}_test" --gtest_brief=1 --gtest_filter="${filters[$program]:-*}"
done
