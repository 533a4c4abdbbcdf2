#include "kernels/cuda/cublas_products.h"

#include "kernels/cuda/matmul_choice.h"

namespace lockstep::kernels::cuda {
namespace {

class CublasProduct final : public PlainProduct {
 public:
  CublasProduct(const CublasLt& cublas, const device::MatmulShape& shape,
                const device::MatmulAlgorithm& algorithm, const Stream& stream)
      : matmul_(cublas, shape, algorithm), stream_(stream) {}
  void run(const std::uint16_t* x, const std::uint16_t* w, float* out, std::int32_t rows) override {
    matmul_.run(x, w, out, rows, stream_);
  }

 private:
  const Matmul matmul_;
  const Stream& stream_;
};

}  // namespace

CublasProducts::CublasProducts(DevicePool& pool, const Stream& stream, const std::string& file)
    : stream_(stream), cublas_(pool), known_(file, cublas_.machine()) {}

std::unique_ptr<PlainProduct> CublasProducts::make(std::int32_t n, std::int32_t k,
                                                   std::int32_t max_rows) {
  static_assert(kRowGranule == Matmul::kRowGranule);
  const device::MatmulShape shape{
      .n = n, .k = k, .x_stride = k, .w_stride = k, .max_rows = max_rows, .same_bits = true};
  return std::make_unique<CublasProduct>(
      cublas_, shape, choose_algorithm(cublas_, shape, known_, stream_), stream_);
}

}  // namespace lockstep::kernels::cuda
