// The sums of a segment that wait for others while who sums leaves in their order goes on: device
// code.
#pragma once

#include "kernels/cuda/device_function.h"
#include "kernels/cuda/pack.h"

namespace lockstep::kernels::cuda {

// Of a thread. `Sums` are a leaf's: kPacks packs of four, of which pack(i) is one. The newest are
// in registers, the others in shared memory: [depth, kPacks, threads] packs at `memory`.
template <class Sums, class Thread>
class SumStack {
 public:
  LOCKSTEP_DEVICE SumStack(Thread& t, Pack<float, 4>* memory) : t_(t), waiting_(memory) {}

  // Puts a leaf's sums on top, then adds the two topmost so many times (sum_plan.h: Leaf).
  LOCKSTEP_DEVICE void push(Sums& leaf, int merges) {
    if (merges == 0) {
      if (size_ > 0) {
#pragma unroll
        for (int i = 0; i < Sums::kPacks; ++i) waiting(size_ - 1, i) = top_.pack(i);
      }
      top_ = leaf;
      ++size_;
      return;
    }
#pragma unroll
    for (int i = 0; i < Sums::kPacks; ++i) top_.pack(i) = sum_of(top_.pack(i), leaf.pack(i));
    for (; merges > 1; --merges) {
      --size_;
#pragma unroll
      for (int i = 0; i < Sums::kPacks; ++i) {
        top_.pack(i) = sum_of(waiting(size_ - 1, i), top_.pack(i));
      }
    }
  }

  LOCKSTEP_DEVICE Sums& top() { return top_; }

 private:
  LOCKSTEP_DEVICE static Pack<float, 4> sum_of(const Pack<float, 4>& a, const Pack<float, 4>& b) {
    return {{a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]}};
  }
  LOCKSTEP_DEVICE Pack<float, 4>& waiting(int level, int i) {
    return waiting_[(level * Sums::kPacks + i) * t_.count() + t_.index()];
  }

  Thread& t_;
  Pack<float, 4>* waiting_;
  Sums top_;
  int size_ = 0;  // the top among them
};

}  // namespace lockstep::kernels::cuda
