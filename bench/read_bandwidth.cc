// How fast this machine reads memory: the limit of decoding. Prints JSON: GB/s by threads.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#include "kernels/aligned_buffer.h"

namespace {

constexpr std::size_t kBytes = std::size_t{512} << 20;
constexpr int kRepeats = 8;

// Sums 64-bit words: the compiler turns this into wide loads.
std::uint64_t sum(const std::uint64_t* words, std::size_t count) {
  std::uint64_t lanes[32] = {};
  for (std::size_t i = 0; i < count; i += 32) {
    for (int lane = 0; lane < 32; ++lane) lanes[lane] += words[i + lane];
  }
  std::uint64_t total = 0;
  for (const std::uint64_t lane : lanes) total += lane;
  return total;
}

double best_gb_per_s(const std::uint64_t* words, int threads) {
  double best = 0;
  std::vector<std::uint64_t> sums(threads);
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    const auto begin = std::chrono::steady_clock::now();
    {
      std::vector<std::jthread> team;
      const std::size_t share = kBytes / 8 / threads;
      for (int t = 0; t < threads; ++t) {
        team.emplace_back([&, t] { sums[t] = sum(words + t * share, share); });
      }
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    best = std::max(best, kBytes / seconds.count() * 1e-9);
  }
  if (sums[0] == 1) std::fputs("", stderr);  // the sums are used
  return best;
}

}  // namespace

int main() {
  lockstep::kernels::AlignedBuffer memory(kBytes);
  std::memset(memory.as<char>(), 1, kBytes);
  const auto* words = memory.as<std::uint64_t>();
  const double one = best_gb_per_s(words, 1);
  const double two = best_gb_per_s(words, 2);
  std::printf("{\"1\": %.1f, \"2\": %.1f}\n", one, two);
}
