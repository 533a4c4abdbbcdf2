#include "shard/gpu/progress_marks.h"

#include <utility>

namespace lockstep::shard {

ProgressMarks::ProgressMarks(kernels::cuda::Gpu& gpu, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) marks_.push_back(gpu.make_mark());
}

void ProgressMarks::set() {
  look();
  if (num_set_ == marks_.size()) return;
  marks_[(first_ + num_set_++) % marks_.size()]->set();
}

bool ProgressMarks::moved() {
  look();
  return std::exchange(moved_, false);
}

void ProgressMarks::look() {
  while (num_set_ > 0 && marks_[first_]->reached()) {
    first_ = (first_ + 1) % marks_.size();
    --num_set_;
    moved_ = true;
  }
}

}  // namespace lockstep::shard
