// Products of many rows by cublasLt.
#pragma once

#include <cublasLt.h>

#include <cstddef>
#include <memory>

#include "kernels/cuda/device_buffer.h"
#include "kernels/cuda/memory_pool.h"
#include "kernels/cuda/stream.h"
#include "kernels/device/matmul_algorithms.h"

namespace lockstep::kernels::cuda {

// The library and the scratch memory of its algorithms that split a sum. One stream at a time may
// use it. The pool must outlive it, and it must outlive every Matmul that is made with it.
class CublasLt {
 public:
  explicit CublasLt(DevicePool& pool);

  cublasLtHandle_t handle() const { return handle_.get(); }
  DevicePool& pool() const { return pool_; }
  const Device& device() const { return pool_.device(); }
  void* workspace() const { return workspace_.data(); }
  std::size_t workspace_size() const { return workspace_.size(); }  // bytes
  // What a file of algorithms must be of.
  device::MatmulMachine machine() const;

 private:
  struct Destroy {
    void operator()(cublasLtHandle_t handle) const { cublasLtDestroy(handle); }
  };
  DevicePool& pool_;
  std::unique_ptr<cublasLtContext, Destroy> handle_;
  DeviceBuffer<std::byte> workspace_;
};

// y[rows, n] = x[rows, k] * transpose(w[n, k]) with one algorithm for every number of rows.
// Row-major bf16 in, f32 or bf16 out, summed in f32. x and w begin at multiples of 16 bytes and
// their strides are multiples of 8 elements; n is a multiple of 8.
class Matmul {
 public:
  // Products are computed in whole granules of rows.
  static constexpr int kRowGranule = 64;
  static constexpr int padded_rows(int rows) {
    return (rows + kRowGranule - 1) / kRowGranule * kRowGranule;
  }

  // Whether the algorithm computes this shape at one granule of rows and at max_rows; the library
  // has no way to ask for all between. With same_bits it may not want scratch memory. Throws Error
  // naming the shape when that breaks a rule above.
  static bool suits(const CublasLt& cublas, const device::MatmulShape& shape,
                    const device::MatmulAlgorithm& algorithm);

  // Throws Error naming the shape unless the algorithm suits it. `cublas` must outlive it.
  Matmul(const CublasLt& cublas, const device::MatmulShape& shape,
         const device::MatmulAlgorithm& algorithm);

  // Device memory; x and y have room for padded_rows(rows) rows, of which those from `rows` on are
  // read and overwritten: they may hold anything, and y's hold nothing of use after it.
  // 1 <= rows <= shape().max_rows. May be captured in a graph. Throws Error.
  void run(const void* x, const void* w, void* y, int rows, const Stream& stream) const;

  const device::MatmulShape& shape() const { return shape_; }

 private:
  const CublasLt& cublas_;
  const device::MatmulShape shape_;
  const cublasLtMatmulAlgo_t algorithm_;
};

}  // namespace lockstep::kernels::cuda
