// Lockstep's products alone, in bf16 or q4_1. Prints JSON: for every number of rows the best time
// of a product in microseconds.
//
//   bench_products THREADS N K FORMAT ROWS...
#include <cstdio>
#include <random>
#include <utility>

#include "bench/product_shapes.h"
#include "kernels/cpu_family.h"
#include "kernels/flush_denormals.h"
#include "shard/activations.h"

namespace {

using namespace lockstep;

struct Measured {
  std::size_t bytes;  // of the weights
  double us;
};

// The best of several rounds of at least some milliseconds, going through copies of the weights
// that no cache holds together: a model's weights come from memory.
Measured measure(kernels::ThreadPool& pool, kernels::DType type, const bench::Shape& shape,
                 std::int64_t rows) {
  const auto& table = kernels::kernel_table(kernels::select_family("auto"));
  const kernels::PackedFormat format = kernels::packed_format(type);
  const shard::ActivationChoice activations;
  kernels::Arena arena;
  std::vector<kernels::PackedMatrix> copies;
  std::mt19937 random(1);
  std::vector<std::byte> row(static_cast<std::size_t>(4 * shape.k));
  std::size_t bytes = 0;
  do {
    copies.emplace_back(format, shape.n, shape.k, arena,
                        activations.layout(format, table.bf16_layout));
    for (std::int64_t n = 0; n < shape.n; ++n) {
      for (std::size_t i = n == 0 ? 0 : row.size(); i < row.size(); ++i) {
        row[i] = std::byte(random() & 0x3b);  // no infinities in any format
      }
      copies.back().set_row(n, {type, 1, shape.k, row.data(), {}}, 0, 0);
    }
    bytes += copies.back().bytes();
  } while (bytes < bench::kBeyondCaches);
  shard::Activations x(rows, shape.k);
  for (std::int64_t i = 0; i < rows * shape.k; ++i) {
    x.row(0)[i] = static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 500;
  }
  const shard::Compute compute{&pool, &table, activations};
  x.round(table, compute.rounded_forms({&copies.front()}), 0, rows);
  const auto lanes = kernels::whole_sum(shape.k);
  kernels::AlignedBuffer out(static_cast<std::size_t>(rows * (shape.n + 16)) * sizeof(float));
  const double us = bench::best_us(copies.size(), [&](std::size_t copy) {
    const shard::Product product[] = {{&copies[copy], out.as<float>(), shape.n}};
    shard::multiply(compute, x, rows, lanes, product);
  });
  return {copies.front().bytes(), us};
}

}  // namespace

int main(int argc, char** argv) {
  const kernels::FlushDenormals flush_denormals;
  const bench::Asked asked = bench::asked(argc, argv);
  const auto type = asked.format == "bf16" ? kernels::DType::bf16 : kernels::DType::q4_1;
  kernels::ThreadPool pool(asked.threads);
  bool is_first = true;
  for (const std::int64_t rows : asked.rows) {
    const Measured measured = measure(pool, type, asked.shape, rows);
    bench::print(std::exchange(is_first, false), asked, rows, measured.bytes, measured.us);
  }
  std::puts("\n]");
}
