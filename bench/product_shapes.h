// What is measured of products, the same for every library.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace lockstep::bench {

struct Shape {
  std::int64_t n, k;  // outputs, inputs
};

// What a program is asked for by its arguments: THREADS N K FORMAT ROWS...
struct Asked {
  int threads;
  Shape shape;
  std::string format;
  std::vector<std::int64_t> rows;  // each a product of its own
};

// Ends the program where arguments are missing: bench/sections.py is who calls.
inline Asked asked(int argc, char** argv) {
  if (argc < 6) {
    std::fprintf(stderr, "%s THREADS N K FORMAT ROWS...\n", argv[0]);
    std::exit(2);
  }
  Asked result{std::atoi(argv[1]), {std::atol(argv[2]), std::atol(argv[3])}, argv[4], {}};
  for (int i = 5; i < argc; ++i) result.rows.push_back(std::atol(argv[i]));
  return result;
}

inline constexpr std::size_t kBeyondCaches = std::size_t{96} << 20;

// Prints one element of the JSON array that a program prints; `bytes`: of the weights.
inline void print(bool is_first, const Asked& asked, std::int64_t rows, std::size_t bytes,
                  double us) {
  std::printf(
      "%s{\"format\": \"%s\", \"threads\": %d, \"n\": %ld, \"k\": %ld, \"m\": %ld, "
      "\"bytes\": %zu, \"us\": %.2f}",
      is_first ? "[\n" : ",\n", asked.format.c_str(), asked.threads, asked.shape.n, asked.shape.k,
      rows, bytes, us);
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
