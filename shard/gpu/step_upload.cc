#include "shard/gpu/step_upload.h"

#include <string>
#include <utility>

#include "base/error.h"

namespace lockstep::shard {
namespace {

constexpr char kLabel[] = "step inputs";

}  // namespace

StepUpload::StepUpload(kernels::cuda::Gpu& gpu, std::size_t bytes,
                       std::function<void(kernels::cuda::Mark&)> wait)
    : gpu_(gpu),
      wait_(std::move(wait)),
      pinned_{gpu.pinned_memory().allocate(kLabel, whole_pieces(bytes)),
              gpu.pinned_memory().allocate(kLabel, whole_pieces(bytes))},
      device_(gpu.memory().allocate(kLabel, whole_pieces(bytes))),
      copied_{gpu.make_mark(), gpu.make_mark()} {}

void StepUpload::begin() {
  turn_ = 1 - turn_;
  used_ = 0;
  if (!copied_[turn_]->reached()) wait_(*copied_[turn_]);
}

void StepUpload::send() {
  if (used_ == 0) return;
  gpu_.upload(device_.data(), {host(), used_}, kLabel);
  copied_[turn_]->set();
}

std::size_t StepUpload::take(std::size_t bytes) {
  const std::size_t at = used_;
  used_ += whole_pieces(bytes);
  if (used_ <= device_.size()) return at;
  throw Error("the inputs of a step take more than " + std::to_string(device_.size()) + " bytes");
}

}  // namespace lockstep::shard
