// The executor as a GPU of tests.
#pragma once

#include "tests/kernels/cuda/executed_gpu.h"
#include "tests/kernels/cuda/test_gpu.h"

namespace lockstep::kernels::cuda {

class ExecutorTestGpu final : public TestGpuBody {
 public:
  explicit ExecutorTestGpu(Runs runs = Runs::twice) : gpu_(runs) {}
  Gpu& gpu() override { return gpu_; }
  void protect(const void* first) override { gpu_.protect(first); }
  void require_waiting() override { gpu_.arrays().require_waiting(); }
  void run_product(const ProductArgs& args, const ProductShape& shape) override {
    gpu_.run(args, shape);
  }

 private:
  ExecutedGpu gpu_;
};

}  // namespace lockstep::kernels::cuda
