#include "tests/kernels/emulated_unit/emulated_unit.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cpu/amx_body.h"

namespace lockstep::kernels {
namespace {

// Subnormal numbers are zero, on the way in and on the way out.
float flushed(float x) {
  return std::fabs(x) < std::numeric_limits<float>::min() ? std::copysign(0.0f, x) : x;
}

float widened(std::uint16_t bf16) {
  const std::uint32_t bits = std::uint32_t{bf16} << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return flushed(value);
}

// Eight tiles of up to 16 rows of 64 bytes, by Intel's pseudocode (SDM, TDPBF16PS). Registers
// belong to a thread, as they do in a processor.
class EmulatedUnit {
 public:
  static void configure(int tokens) {
    tiles() = {};
    for (Tile& tile : tiles().all) tile = {.rows = 16, .bytes = 4 * tokens};
    for (const int weights : {4, 5}) tiles().all[weights] = {.rows = 16, .bytes = 64};
  }
  static void configure_attention(int queries) {
    tiles() = {};
    for (int i = 0; i < 4; ++i) tiles().all[i] = {.rows = queries, .bytes = 64};
    tiles().all[4] = {.rows = queries, .bytes = 64};
    tiles().all[5] = {.rows = queries, .bytes = 32};
    tiles().all[6] = {.rows = 16, .bytes = 64};
    tiles().all[7] = {.rows = 8, .bytes = 64};
  }
  static void release() { tiles() = {}; }

  template <int I>
  static void zero() {
    std::memset(tiles().all[I].data, 0, sizeof tiles().all[I].data);
  }
  template <int I>
  static void store(void* to, std::int64_t stride) {
    const Tile& tile = tiles().all[I];
    for (int row = 0; row < tile.rows; ++row) {
      std::memcpy(static_cast<std::byte*>(to) + row * stride, tile.data[row],
                  static_cast<std::size_t>(tile.bytes));
    }
  }

  template <int W>
  static void load_weights(const void* from) {
    load(4 + W, from, 64);
  }
  template <int T>
  static void load_tokens(const void* from) {
    load(6 + T, from, 64);
  }
  template <int I, int W, int T>
  static void multiply() {
    add_product(I, 4 + W, 6 + T);
  }

  static void load_queries(const void* from, std::int64_t stride) { load(4, from, stride); }
  static void load_keys(const void* from) { load(6, from, 64); }
  template <int I>
  static void score() {
    add_product(I, 4, 6);
  }
  static void load_shares(const void* from, std::int64_t stride) { load(5, from, stride); }
  static void load_values(const void* from, std::int64_t stride) { load(7, from, stride); }
  template <int I>
  static void weigh() {
    add_product(I, 5, 7);
  }

 private:
  struct Tile {
    int rows = 0;
    int bytes = 0;  // of a row
    std::byte data[16][64] = {};

    std::uint16_t bf16(int row, int i) const {
      std::uint16_t value;
      std::memcpy(&value, data[row] + 2 * i, sizeof value);
      return value;
    }
  };
  struct Tiles {
    Tile all[8];
  };
  static Tiles& tiles() {
    static thread_local Tiles all;
    return all;
  }

  static void load(int i, const void* from, std::int64_t stride) {
    Tile& tile = tiles().all[i];
    for (int row = 0; row < tile.rows; ++row) {
      std::memcpy(tile.data[row], static_cast<const std::byte*>(from) + row * stride,
                  static_cast<std::size_t>(tile.bytes));
    }
  }

  static void add_product(int to, int left, int right) {
    Tile& sums = tiles().all[to];
    const Tile &a = tiles().all[left], &b = tiles().all[right];
    for (int m = 0; m < sums.rows; ++m) {
      for (int n = 0; n < sums.bytes / 4; ++n) {
        float halves[2] = {0.0f, 0.0f};
        for (int k = 0; k < a.bytes / 4; ++k) {
          for (int half = 0; half < 2; ++half) {
            halves[half] = flushed(std::fma(widened(a.bf16(m, 2 * k + half)),
                                            widened(b.bf16(k, 2 * n + half)), halves[half]));
          }
        }
        float sum;
        std::memcpy(&sum, sums.data[m] + 4 * n, sizeof sum);
        sum = flushed(sum + flushed(halves[0] + halves[1]));
        std::memcpy(sums.data[m] + 4 * n, &sum, sizeof sum);
      }
    }
  }
};

}  // namespace

const cpu::KernelTable& emulated_unit_table() {
  static constexpr cpu::KernelTable table = cpu::make_unit_table<EmulatedUnit>("emulated unit");
  return table;
}

bool can_emulate_unit() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vbmi") &&
         __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

}  // namespace lockstep::kernels
