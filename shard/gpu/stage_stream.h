// The residual stream on its way from the GPU of one pipeline stage to that of the next: through
// pinned memory and the links of comm/stage_link.h.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "kernels/cuda/gpu.h"
#include "shard/pipeline_place.h"

namespace lockstep::shard {

// What crosses is f32 as it is, so that the next stage goes on with the same bits. Two pinned
// buffers take turns for what comes, so that a step that nobody waits for may still be under way.
class GpuStageStream {
 public:
  // `max_values`: floats of the largest step. `wait` returns when a mark is reached: where ranks
  // exchange, within a deadline; `what` names in errors what is waited for. The GPU and the place's
  // links must outlive it. Throws Error when there is no room.
  GpuStageStream(kernels::cuda::Gpu& gpu, const PipelinePlace& place, std::int64_t max_values,
                 std::function<void(kernels::cuda::Mark& mark, const char* what)> wait);

  // Waits for a step's stream from the stage before and puts its upload to `to` in line.
  // REQUIRES: there is a stage before. Throws Error as StageInlet::receive() does.
  void receive(float* to, std::int64_t values);

  // Waits until the stream is there, and sends it on. REQUIRES: there is a next
  // stage. Throws what `wait` throws, and Error as StageOutlet::send() does.
  void send(const float* from, std::int64_t values);

 private:
  kernels::cuda::Gpu& gpu_;
  const PipelinePlace place_;
  const std::function<void(kernels::cuda::Mark&, const char*)> wait_;
  std::array<kernels::device::Allocation, 2> received_;  // empty in the first stage
  kernels::device::Allocation sent_;                     // empty in the last stage
  const std::array<std::unique_ptr<kernels::cuda::Mark>, 2> uploaded_;
  const std::unique_ptr<kernels::cuda::Mark> downloaded_;
  std::size_t turn_ = 0;
};

}  // namespace lockstep::shard
