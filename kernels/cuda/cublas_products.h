// plain_products.h by cublasLt.
#pragma once

#include <string>

#include "kernels/cuda/matmul.h"
#include "kernels/cuda/plain_products.h"

namespace lockstep::kernels::cuda {

class CublasProducts final : public PlainProducts {
 public:
  // `file`: of chosen algorithms (matmul_algorithms.h); empty: none. Pool and stream must outlive
  // it, and it every product.
  CublasProducts(DevicePool& pool, const Stream& stream, const std::string& file);
  std::unique_ptr<PlainProduct> make(std::int32_t n, std::int32_t k,
                                     std::int32_t max_rows) override;
  void save() override { known_.save(); }

 private:
  const Stream& stream_;
  CublasLt cublas_;
  device::MatmulAlgorithms known_;
};

}  // namespace lockstep::kernels::cuda
