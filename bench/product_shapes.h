// What is measured of products, the same for every library.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string_view>

namespace lockstep::bench {

struct Shape {
  std::int64_t n, k;
};

// SmolLM2-135M's queries, keys and values, MLP (in, out) and output layer; Llama-3.2-1B's MLP.
inline constexpr Shape kShapes[] = {{960, 576},   {1536, 576},  {576, 1536},
                                    {49152, 576}, {8192, 2048}, {2048, 8192}};
inline constexpr std::int64_t kRows[] = {1, 8, 32, 128, 512};
inline constexpr std::int64_t kQuickRows[] = {1, 8};
inline constexpr std::size_t kBeyondCaches = std::size_t{96} << 20;

// The numbers of rows that a program called with these arguments measures; --quick: two.
inline std::span<const std::int64_t> rows(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "--quick") return kQuickRows;
  return kRows;
}

// Prints one element of the JSON array that a program prints; `bytes`: of the weights.
inline void print(bool is_first, std::string_view format, int threads, const Shape& shape,
                  std::int64_t rows, std::size_t bytes, double us) {
  std::printf(
      "%s{\"format\": \"%.*s\", \"threads\": %d, \"n\": %ld, \"k\": %ld, \"m\": %ld, "
      "\"bytes\": %zu, \"us\": %.2f}",
      is_first ? "[\n" : ",\n", static_cast<int>(format.size()), format.data(), threads, shape.n,
      shape.k, rows, bytes, us);
}

// Best microseconds of one product(copy) over some rounds through all copies.
template <class Product>
double best_us(std::size_t copies, const Product& product) {
  using Clock = std::chrono::steady_clock;
  for (std::size_t copy = 0; copy < std::min<std::size_t>(copies, 4); ++copy) product(copy);
  double best = 1e30;
  const auto begin = Clock::now();
  for (int round = 0; round < 3 || Clock::now() - begin < std::chrono::milliseconds(150); ++round) {
    const auto start = Clock::now();
    for (std::size_t copy = 0; copy < copies; ++copy) product(copy);
    const std::chrono::duration<double, std::micro> spent = Clock::now() - start;
    best = std::min(best, spent.count() / static_cast<double>(copies));
    if (round > 200) break;
  }
  return best;
}

}  // namespace lockstep::bench
