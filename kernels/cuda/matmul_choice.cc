#include "kernels/cuda/matmul_choice.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "kernels/cuda/event.h"
#include "kernels/cuda/matmul_problem.h"
#include "kernels/cuda/status.h"
#include "kernels/half.h"
#include "kernels/philox.h"

namespace lockstep::kernels::cuda {
namespace {

using device::MatmulAlgorithm;
using device::MatmulShape;

constexpr int kProposals = 32;
constexpr int kProbeRows = Matmul::kRowGranule;
constexpr int kProbeColumns = 256;
constexpr int kReferenceRows = 2048;
constexpr int kReferenceColumns = 8192;
constexpr int kRuns = 10;  // that are timed together
constexpr std::uint32_t kAlignmentBytes = 16;

using Bf16 = std::uint16_t;

// Plain memory, as the other descriptions.
cublasLtMatmulPreferenceOpaque_t preference(const CublasLt& cublas, bool same_bits) {
  cublasLtMatmulPreferenceOpaque_t preference;
  const Device& device = cublas.device();
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    check(cublasLtMatmulPreferenceSetAttribute(&preference, attribute, &value, sizeof value),
          "cublasLtMatmulPreferenceSetAttribute", device);
  };
  check(cublasLtMatmulPreferenceInit(&preference), "cublasLtMatmulPreferenceInit", device);
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
      std::uint64_t{same_bits ? 0 : cublas.workspace_size()});
  if (same_bits) {
    set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, std::uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE});
  }
  for (const auto operand :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    set(operand, kAlignmentBytes);
  }
  return preference;
}

bool sums_in_one_piece(const cublasLtMatmulHeuristicResult_t& proposal, const Device& device) {
  const auto value = [&](cublasLtMatmulAlgoConfigAttributes_t attribute) {
    std::uint32_t value = 0;
    std::size_t written = 0;
    check(cublasLtMatmulAlgoConfigGetAttribute(&proposal.algo, attribute, &value, sizeof value,
                                               &written),
          "cublasLtMatmulAlgoConfigGetAttribute", device);
    return value;
  };
  return proposal.workspaceSize == 0 && value(CUBLASLT_ALGO_CONFIG_SPLITK_NUM) <= 1 &&
         value(CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME) == CUBLASLT_REDUCTION_SCHEME_NONE;
}

// What cublasLt proposes, its favourite first, and what of it can be used.
std::vector<MatmulAlgorithm> proposals(const CublasLt& cublas, const MatmulShape& shape) {
  MatmulProblem problem(shape, Matmul::padded_rows(shape.max_rows), cublas.device());
  auto wanted = preference(cublas, shape.same_bits);
  std::array<cublasLtMatmulHeuristicResult_t, kProposals> results{};
  int count = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      cublas.handle(), &problem.operation, &problem.w, &problem.x, &problem.y, &problem.y, &wanted,
      kProposals, results.data(), &count);
  if (status != CUBLAS_STATUS_NOT_SUPPORTED) {  // that is: none
    check(status, "cublasLtMatmulAlgoGetHeuristic", cublas.device());
  }
  std::vector<MatmulAlgorithm> usable;
  for (const auto& proposal : std::span(results).first(static_cast<std::size_t>(count))) {
    if (proposal.state != CUBLAS_STATUS_SUCCESS) continue;
    if (shape.same_bits && !sums_in_one_piece(proposal, cublas.device())) continue;
    MatmulAlgorithm& algorithm = usable.emplace_back();
    std::memcpy(algorithm.words.data(), proposal.algo.data, sizeof proposal.algo.data);
  }
  return usable;
}

// None where the algorithm does not suit the shape at one granule of rows or at all of them.
std::optional<Matmul> matmul_if_suited(const CublasLt& cublas, const MatmulShape& shape,
                                       const MatmulAlgorithm& algorithm) {
  if (!Matmul::suits(cublas, shape, algorithm)) return std::nullopt;
  return std::optional<Matmul>(std::in_place, cublas, shape, algorithm);
}

// Rows of random numbers of magnitudes 2^-6 to 2, so that a sum in another order rounds otherwise.
std::vector<Bf16> random_rows(int rows, int columns, std::uint32_t seed) {
  std::vector<Bf16> values(static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns));
  for (std::size_t i = 0; i < values.size(); i += 4) {
    const auto words = philox4x32({static_cast<std::uint32_t>(i / 4), 0, 0, 0}, {seed, 0});
    for (std::size_t j = 0; j < 4 && i + j < values.size(); ++j) {
      const std::uint32_t exponent = 121 + words[j] % 7;
      values[i + j] =
          static_cast<Bf16>((words[j] >> 31) << 15 | exponent << 7 | (words[j] >> 16 & 0x7f));
    }
  }
  return values;
}

// x, w and y of a shape, filled with the probe's rows over and over. The probe's numbers depend on
// k alone, so row i of any x is row i % kProbeRows of every other.
class Probe {
 public:
  Probe(CublasLt& cublas, const MatmulShape& shape, const Stream& stream)
      : shape_(shape),
        stream_(stream),
        x_(cublas.pool(), "choosing algorithms",
           size_of(Matmul::padded_rows(shape.max_rows), shape.x_stride)),
        w_(cublas.pool(), "choosing algorithms", size_of(shape.n, shape.w_stride)),
        y_(cublas.pool(), "choosing algorithms",
           size_of(Matmul::padded_rows(shape.max_rows), shape.n) * element_size()) {
    fill(x_, Matmul::padded_rows(shape.max_rows), shape.x_stride, kProbeRows, 1);
    fill(w_, shape.n, shape.w_stride, kProbeColumns, 2);
  }

  void run(const Matmul& matmul, int rows) const {
    matmul.run(x_.data(), w_.data(), y_.data(), rows, stream_);
  }

  // The bits of columns [begin, begin + count) of the first `rows` rows of y.
  std::vector<std::byte> columns(int rows, int begin, int count) const {
    const std::size_t width = static_cast<std::size_t>(count) * element_size();
    const std::size_t pitch = static_cast<std::size_t>(shape_.n) * element_size();
    std::vector<std::byte> bits(static_cast<std::size_t>(rows) * width);
    check(cudaMemcpy2DAsync(
              bits.data(), width, y_.data() + static_cast<std::size_t>(begin) * element_size(),
              pitch, width, static_cast<std::size_t>(rows), cudaMemcpyDeviceToHost, stream_.get()),
          "cudaMemcpy2DAsync", stream_.device());
    stream_.synchronize();
    return bits;
  }

  std::size_t element_size() const {
    return shape_.output == device::MatmulOutput::f32 ? sizeof(float) : sizeof(Bf16);
  }

 private:
  static std::size_t size_of(int rows, int columns) {
    return static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns);
  }

  // Row i of the matrix gets the numbers of row i % period.
  void fill(DeviceBuffer<Bf16>& matrix, int rows, int stride, int period, std::uint32_t seed) {
    const int unique = std::min(rows, period);
    const std::vector<Bf16> numbers = random_rows(unique, shape_.k, seed);
    const auto width = static_cast<std::size_t>(shape_.k) * sizeof(Bf16);
    const auto pitch = static_cast<std::size_t>(stride) * sizeof(Bf16);
    matrix.clear(stream_);
    check(
        cudaMemcpy2DAsync(matrix.data(), pitch, numbers.data(), width, width,
                          static_cast<std::size_t>(unique), cudaMemcpyHostToDevice, stream_.get()),
        "cudaMemcpy2DAsync", stream_.device());
    for (int done = unique; done < rows; done += std::min(unique, rows - done)) {
      copy_on_device(matrix.data() + size_of(done, stride), matrix.data(),
                     size_of(std::min(unique, rows - done), stride) * sizeof(Bf16), stream_,
                     "the probe's rows");
    }
    stream_.synchronize();  // `numbers` goes
  }

  const MatmulShape shape_;
  const Stream& stream_;
  DeviceBuffer<Bf16> x_;
  DeviceBuffer<Bf16> w_;
  DeviceBuffer<std::byte> y_;
};

// What every algorithm for one k must give.
struct Reference {
  MatmulAlgorithm algorithm;
  std::vector<std::byte> bits;  // [kProbeRows, kProbeColumns]
};

// The algorithm is cublasLt's first proposal for a large product, as its favourites there are of
// the usual kind, among those that suit the probe. Nothing of the shape but k and the output
// counts.
Reference make_reference(CublasLt& cublas, const MatmulShape& shape, const Stream& stream) {
  const int stride = (shape.k + 7) / 8 * 8;
  const MatmulShape large{.n = kReferenceColumns,
                          .k = shape.k,
                          .x_stride = stride,
                          .w_stride = stride,
                          .max_rows = kReferenceRows,
                          .output = shape.output,
                          .same_bits = true};
  MatmulShape small = large;
  small.n = kProbeColumns;
  small.max_rows = kProbeRows;
  for (const MatmulAlgorithm& algorithm : proposals(cublas, large)) {
    const std::optional<Matmul> matmul = matmul_if_suited(cublas, small, algorithm);
    if (!matmul) continue;
    const Probe probe(cublas, small, stream);
    probe.run(*matmul, kProbeRows);
    return {algorithm, probe.columns(kProbeRows, 0, kProbeColumns)};
  }
  throw Error(cublas.device().name() +
              ": cublasLt has no algorithm without a split sum for k = " + std::to_string(shape.k));
}

// Whether each element of columns [begin, begin + count) is that of the reference in its row and
// column of the probe.
bool equals_reference(const Probe& probe, const std::vector<std::byte>& reference, int rows,
                      int begin, int count) {
  const std::size_t size = probe.element_size();
  const std::vector<std::byte> bits = probe.columns(rows, begin, count);
  const std::byte* at = bits.data();
  for (int row = 0; row < rows; ++row) {
    for (int column = begin; column < begin + count; ++column, at += size) {
      const int place = row % kProbeRows * kProbeColumns + column % kProbeColumns;
      if (std::memcmp(at, reference.data() + static_cast<std::size_t>(place) * size, size) != 0) {
        return false;
      }
    }
  }
  return true;
}

bool keeps_the_order(const Probe& probe, const Matmul& matmul,
                     const std::vector<std::byte>& reference) {
  const MatmulShape& shape = matmul.shape();
  const int count = std::min(kProbeColumns, shape.n);
  for (const int granules : {1, 2, shape.max_rows}) {
    const int rows = std::min(granules * Matmul::kRowGranule, shape.max_rows);
    probe.run(matmul, rows);
    for (const int begin : {0, (shape.n - count) / 2, shape.n - count}) {
      if (!equals_reference(probe, reference, rows, begin, count)) return false;
    }
  }
  return true;
}

double microseconds_of(const Probe& probe, const Matmul& matmul, const Stream& stream) {
  const Device& device = stream.device();
  Event begin(device, Event::Timing::on);
  Event end(device, Event::Timing::on);
  probe.run(matmul, matmul.shape().max_rows);
  begin.record(stream);
  for (int run = 0; run < kRuns; ++run) probe.run(matmul, matmul.shape().max_rows);
  end.record(stream);
  end.synchronize();
  return time_between(begin, end, device).count() / kRuns;
}

}  // namespace

MatmulAlgorithm choose_algorithm(CublasLt& cublas, const MatmulShape& shape,
                                 device::MatmulAlgorithms& known, const Stream& stream) {
  if (const auto found = known.find(shape)) return *found;
  std::vector<MatmulAlgorithm> proposed = proposals(cublas, shape);
  std::vector<std::byte> bits;
  if (shape.same_bits) {
    Reference reference = make_reference(cublas, shape, stream);
    bits = std::move(reference.bits);
    proposed.push_back(reference.algorithm);
  }
  const Probe probe(cublas, shape, stream);
  std::optional<MatmulAlgorithm> fastest;
  for (MatmulAlgorithm algorithm : proposed) {
    const std::optional<Matmul> matmul = matmul_if_suited(cublas, shape, algorithm);
    if (!matmul || (shape.same_bits && !keeps_the_order(probe, *matmul, bits))) continue;
    algorithm.microseconds = microseconds_of(probe, *matmul, stream);
    if (!fastest || algorithm.microseconds < fastest->microseconds) fastest = algorithm;
  }
  if (!fastest) {
    throw Error(cublas.device().name() + ": none of " + std::to_string(proposed.size()) +
                " algorithms of cublasLt for " + std::to_string(shape.n) + " x " +
                std::to_string(shape.k) + " weights " +
                (shape.same_bits ? "keeps one order of summation at every number of rows"
                                 : "suits every number of rows"));
  }
  known.add(shape, *fastest);
  return *fastest;
}

}  // namespace lockstep::kernels::cuda
