// How far a GPU has come in steps that take long.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "kernels/cuda/gpu.h"

namespace lockstep::shard {

// Marks between a step's layers: who waits for the step sees that it goes on.
class ProgressMarks {
 public:
  // `count`: of marks in line; while so many are not reached, no more are set. The GPU must outlive
  // it.
  ProgressMarks(kernels::cuda::Gpu& gpu, std::size_t count);

  // Puts one behind what is in line now.
  void set();
  // Whether one has been reached since the last call. Does not wait.
  bool moved();

 private:
  void look();

  std::vector<std::unique_ptr<kernels::cuda::Mark>> marks_;  // a ring
  std::size_t first_ = 0;    // of those that are set and were not seen to be reached
  std::size_t num_set_ = 0;  // of these
  bool moved_ = false;
};

}  // namespace lockstep::shard
