// Intel's AMX, beside AVX-512 with bf16 dot products.
#include "kernels/cpu/amx_body.h"

namespace lockstep::kernels::cpu {
namespace {

// Sums in tiles 0 to 3, operands in 4 to 7. The compiler knows nothing of tiles: every instruction
// may read or write any memory.
struct Amx {
  static void configure(int tokens) {
    Shapes shapes;
    for (int tile = 0; tile < 8; ++tile) shapes.set(tile, 16, 4 * tokens);
    for (const int weights : {4, 5}) shapes.set(weights, 16, 64);
    shapes.load();
  }
  static void configure_attention(int queries) {
    Shapes shapes;
    for (int sums = 0; sums < 4; ++sums) shapes.set(sums, queries, 64);
    shapes.set(kQueries, queries, 64);
    shapes.set(kShares, queries, 32);
    shapes.set(kKeys, 16, 64);
    shapes.set(kValues, 8, 64);
    shapes.load();
  }
  static void release() { asm volatile("tilerelease" ::: "memory"); }

  template <int I>
  static void zero() {
    static_assert(0 <= I && I < 4);
    asm volatile("tilezero %%tmm%c0" ::"i"(I) : "memory");
  }
  template <int I>
  static void store(void* to, std::int64_t stride) {
    static_assert(0 <= I && I < 4);
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(I) : "memory");
  }
  template <int W>
  static void load_weights(const void* from) {
    static_assert(0 <= W && W < 2);
    load<4 + W>(from, 64);
  }
  template <int T>
  static void load_tokens(const void* from) {
    static_assert(0 <= T && T < 2);
    load<6 + T>(from, 64);
  }
  template <int I, int W, int T>
  static void multiply() {
    add_product<I, 4 + W, 6 + T>();
  }

  static void load_queries(const void* from, std::int64_t stride) { load<kQueries>(from, stride); }
  static void load_keys(const void* from) { load<kKeys>(from, 64); }
  template <int I>
  static void score() {
    add_product<I, kQueries, kKeys>();
  }
  static void load_shares(const void* from, std::int64_t stride) { load<kShares>(from, stride); }
  static void load_values(const void* from, std::int64_t stride) { load<kValues>(from, stride); }
  template <int I>
  static void weigh() {
    add_product<I, kShares, kValues>();
  }

 private:
  static constexpr int kQueries = 4, kShares = 5, kKeys = 6, kValues = 7;

  // The operand of LDTILECFG.
  class Shapes {
   public:
    void set(int tile, int rows, int row_bytes) {
      config_.bytes[tile] = static_cast<std::uint16_t>(row_bytes);
      config_.rows[tile] = static_cast<std::uint8_t>(rows);
    }
    void load() const { asm volatile("ldtilecfg %0" ::"m"(config_)); }

   private:
    struct alignas(64) {
      std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
      std::uint16_t bytes[16] = {};  // of a row
      std::uint8_t rows[16] = {};
    } config_;
  };

  template <int I>
  static void load(const void* from, std::int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(I) : "memory");
  }
  template <int I, int A, int B>
  static void add_product() {
    static_assert(0 <= I && I < 4);
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(I), "i"(A), "i"(B) : "memory");
  }
};

}  // namespace

const KernelTable& amx_table() {
  static constexpr KernelTable table = make_unit_table<Amx>("amx");
  return table;
}

}  // namespace lockstep::kernels::cpu
