// Intel's AMX, beside AVX-512 with bf16 dot products.
#include "kernels/cpu/amx_body.h"

namespace lockstep::kernels::cpu {
namespace {

// Tiles 0 to 3: sums; 4, 5: bf16 activations and weights; 6, 7: bytes. The compiler knows nothing
// of tiles: every instruction may read or write any memory.
struct Amx {
  static void configure(int rows) {
    struct alignas(64) {
      std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
      std::uint16_t bytes[16] = {};  // of a row
      std::uint8_t rows[16] = {};
    } config;
    for (int tile = 0; tile < 8; ++tile) {
      config.bytes[tile] = 64;
      config.rows[tile] = static_cast<std::uint8_t>(rows);
    }
    config.rows[5] = 16;
    config.bytes[6] = 32;
    config.rows[7] = 8;
    asm volatile("ldtilecfg %0" ::"m"(config));
  }
  static void release() { asm volatile("tilerelease" ::: "memory"); }

  template <int I>
  static void zero() {
    if constexpr (I == 0) asm volatile("tilezero %%tmm0" ::: "memory");
    if constexpr (I == 1) asm volatile("tilezero %%tmm1" ::: "memory");
    if constexpr (I == 2) asm volatile("tilezero %%tmm2" ::: "memory");
    if constexpr (I == 3) asm volatile("tilezero %%tmm3" ::: "memory");
  }
  template <int I>
  static void store(void* to) {
    const std::int64_t stride = 64;
    if constexpr (I == 0)
      asm volatile("tilestored %%tmm0, (%0,%1,1)" ::"r"(to), "r"(stride) : "memory");
    if constexpr (I == 1)
      asm volatile("tilestored %%tmm1, (%0,%1,1)" ::"r"(to), "r"(stride) : "memory");
    if constexpr (I == 2)
      asm volatile("tilestored %%tmm2, (%0,%1,1)" ::"r"(to), "r"(stride) : "memory");
    if constexpr (I == 3)
      asm volatile("tilestored %%tmm3, (%0,%1,1)" ::"r"(to), "r"(stride) : "memory");
  }

  static void load_bf16_activations(const void* from, std::int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm4" ::"r"(from), "r"(stride) : "memory");
  }
  static void load_bf16_weights(const void* from) {
    asm volatile("tileloadd (%0,%1,1), %%tmm5" ::"r"(from), "r"(std::int64_t{64}) : "memory");
  }
  template <int I>
  static void add_bf16() {
    if constexpr (I == 0) asm volatile("tdpbf16ps %%tmm5, %%tmm4, %%tmm0" ::: "memory");
    if constexpr (I == 1) asm volatile("tdpbf16ps %%tmm5, %%tmm4, %%tmm1" ::: "memory");
    if constexpr (I == 2) asm volatile("tdpbf16ps %%tmm5, %%tmm4, %%tmm2" ::: "memory");
    if constexpr (I == 3) asm volatile("tdpbf16ps %%tmm5, %%tmm4, %%tmm3" ::: "memory");
  }

  static void load_byte_activations(const void* from, std::int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm6" ::"r"(from), "r"(stride) : "memory");
  }
  static void load_byte_weights(const void* from) {
    asm volatile("tileloadd (%0,%1,1), %%tmm7" ::"r"(from), "r"(std::int64_t{64}) : "memory");
  }
  template <int I>
  static void add_signed() {
    static_assert(I == 0);
    asm volatile("tdpbssd %%tmm7, %%tmm6, %%tmm0" ::: "memory");
  }
  template <int I>
  static void add_unsigned() {
    static_assert(I == 0);
    asm volatile("tdpbsud %%tmm7, %%tmm6, %%tmm0" ::: "memory");
  }
};

}  // namespace

const KernelTable& amx_table() {
  static constexpr KernelTable table = make_unit_table<Amx>("amx");
  return table;
}

}  // namespace lockstep::kernels::cpu
