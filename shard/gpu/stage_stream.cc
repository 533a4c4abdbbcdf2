#include "shard/gpu/stage_stream.h"

#include <span>
#include <utility>

namespace lockstep::shard {
namespace {

constexpr char kLabel[] = "activations of other stages";

std::size_t bytes(std::int64_t values) { return static_cast<std::size_t>(values) * sizeof(float); }

std::span<std::byte> first_bytes(const kernels::device::Allocation& memory, std::int64_t values) {
  return std::span(static_cast<std::byte*>(memory.data()), memory.size()).first(bytes(values));
}

}  // namespace

GpuStageStream::GpuStageStream(kernels::cuda::Gpu& gpu, const PipelinePlace& place,
                               std::int64_t max_values,
                               std::function<void(kernels::cuda::Mark&, const char*)> wait)
    : gpu_(gpu),
      place_(place),
      wait_(std::move(wait)),
      uploaded_{gpu.make_mark(), gpu.make_mark()},
      downloaded_(gpu.make_mark()) {
  if (place.previous != nullptr) {
    for (auto& buffer : received_) {
      buffer = gpu.pinned_memory().allocate(kLabel, bytes(max_values));
    }
  }
  if (place.next != nullptr) sent_ = gpu.pinned_memory().allocate(kLabel, bytes(max_values));
}

void GpuStageStream::receive(float* to, std::int64_t values) {
  turn_ = 1 - turn_;
  if (!uploaded_[turn_]->reached()) wait_(*uploaded_[turn_], "activations of an earlier step");
  const auto buffer = first_bytes(received_[turn_], values);
  place_.previous->receive(buffer);
  gpu_.upload(to, buffer, kLabel);
  uploaded_[turn_]->set();
}

// The link copies what it sends: the buffer is free again at once.
void GpuStageStream::send(const float* from, std::int64_t values) {
  const auto buffer = first_bytes(sent_, values);
  gpu_.download(buffer, from, kLabel);
  downloaded_->set();
  wait_(*downloaded_, "activations for the next stage");
  place_.next->send(buffer);
}

}  // namespace lockstep::shard
