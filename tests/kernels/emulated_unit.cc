#include "tests/kernels/emulated_unit.h"

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

// (SDM, TDPBF16PS and TDPBSSD.) Registers belong to a thread, as they do in a processor.
struct EmulatedUnit {
  struct Registers {
    int rows = 0;
    float sums[4][16][16];
    std::int32_t byte_sums[16][16];
    bool sums_are_bytes;
    std::uint16_t x[16][32], weights[16][16][2];
    std::int8_t byte_x[16][32];
    std::uint8_t byte_weights[8][16][4];
  };
  static Registers& registers() {
    static thread_local Registers all;
    return all;
  }

  static void configure(int rows) {
    registers() = {};
    registers().rows = rows;
  }
  static void release() { registers().rows = 0; }

  template <int I>
  static void zero() {
    Registers& r = registers();
    std::memset(r.sums[I], 0, sizeof r.sums[I]);
    if constexpr (I == 0) std::memset(r.byte_sums, 0, sizeof r.byte_sums);
    r.sums_are_bytes = false;
  }
  template <int I>
  static void store(void* to) {
    const Registers& r = registers();
    const auto bytes = static_cast<std::size_t>(r.rows) * 64;
    if (I == 0 && r.sums_are_bytes) {
      std::memcpy(to, r.byte_sums, bytes);
    } else {
      std::memcpy(to, r.sums[I], bytes);
    }
  }

  static void load_bf16_activations(const std::byte* from, std::int64_t stride) {
    Registers& r = registers();
    for (int m = 0; m < r.rows; ++m) std::memcpy(r.x[m], from + m * stride, sizeof r.x[m]);
  }
  static void load_bf16_weights(const std::byte* from) {
    std::memcpy(registers().weights, from, sizeof registers().weights);
  }
  template <int I>
  static void add_bf16() {
    Registers& r = registers();
    for (int m = 0; m < r.rows; ++m) {
      for (int n = 0; n < 16; ++n) {
        float halves[2] = {0.0f, 0.0f};
        for (int k = 0; k < 16; ++k) {
          for (int half = 0; half < 2; ++half) {
            halves[half] = flushed(std::fma(widened(r.x[m][2 * k + half]),
                                            widened(r.weights[k][n][half]), halves[half]));
          }
        }
        r.sums[I][m][n] = flushed(r.sums[I][m][n] + flushed(halves[0] + halves[1]));
      }
    }
  }

  static void load_byte_activations(const std::byte* from, std::int64_t stride) {
    Registers& r = registers();
    for (int m = 0; m < r.rows; ++m)
      std::memcpy(r.byte_x[m], from + m * stride, sizeof r.byte_x[m]);
  }
  static void load_byte_weights(const std::byte* from) {
    std::memcpy(registers().byte_weights, from, sizeof registers().byte_weights);
  }
  template <int I, class Weight>
  static void add_bytes() {
    static_assert(I == 0);
    Registers& r = registers();
    r.sums_are_bytes = true;
    for (int m = 0; m < r.rows; ++m) {
      for (int n = 0; n < 16; ++n) {
        for (int k = 0; k < 32; ++k) {
          r.byte_sums[m][n] +=
              r.byte_x[m][k] * static_cast<Weight>(r.byte_weights[k / 4][n][k % 4]);
        }
      }
    }
  }
  template <int I>
  static void add_signed() {
    add_bytes<I, std::int8_t>();
  }
  template <int I>
  static void add_unsigned() {
    add_bytes<I, std::uint8_t>();
  }
};

}  // namespace

const cpu::KernelTable& emulated_unit_table() {
  static constexpr cpu::KernelTable table = cpu::make_unit_table<EmulatedUnit>("emulated unit");
  return table;
}

}  // namespace lockstep::kernels
