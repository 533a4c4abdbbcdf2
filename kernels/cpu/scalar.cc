// The family that every machine has, and the reference for the others.
#include <cstring>

#include "kernels/cpu/simd_scalar.h"
#include "kernels/cpu/table_body.h"
#include "kernels/half.h"

namespace lockstep::kernels::cpu {
namespace {

using S = ScalarSimd;

S::V halves(const std::byte* p) { return S::load_f16(reinterpret_cast<const std::uint16_t*>(p)); }

// Of R rows of bytes, `stride` apart, the sums of weight(column, output) * bytes[column] over the
// group's 32 columns.
template <int R, class Weight>
void dot_columns(const std::int8_t* bytes, std::int64_t stride, const Weight& weight,
                 S::V (&out)[R]) {
  for (int i = 0; i < R; ++i, bytes += stride) {
    out[i] = S::map([&](int output) {
      std::int32_t total = 0;
      for (int column = 0; column < kGroup; ++column) {
        total += weight(column, output) * bytes[column];
      }
      return static_cast<float>(total);
    });
  }
}

template <bool kMinimum>
struct FourBit {
  static constexpr bool kHasMinimum = kMinimum;
  static constexpr std::size_t kGroupBytes = kMinimum ? 320 : 288;
  class Weights {
   public:
    explicit Weights(const std::byte* group) : group_(group) {}
    template <int R>
    void dots(const std::int8_t* bytes, std::int64_t stride, const std::int32_t*, std::int64_t,
              S::V (&out)[R]) const {
      const auto weight = [this](int column, int output) {
        const auto both =
            std::to_integer<int>(group_[64 * (column % 16 / 4) + 4 * output + column % 4]);
        return (column < 16 ? both & 15 : both >> 4) - (kMinimum ? 0 : 8);
      };
      dot_columns(bytes, stride, weight, out);
    }
    S::V scale() const { return halves(group_ + 256); }
    S::V minimum() const { return halves(group_ + 288); }

   private:
    const std::byte* group_;
  };
};

struct EightBit {
  static constexpr bool kHasMinimum = false;
  static constexpr std::size_t kGroupBytes = 544;
  class Weights {
   public:
    explicit Weights(const std::byte* group) : group_(group) {}
    template <int R>
    void dots(const std::int8_t* bytes, std::int64_t stride, const std::int32_t*, std::int64_t,
              S::V (&out)[R]) const {
      const auto weight = [this](int column, int output) {
        return int{
            std::to_integer<std::int8_t>(group_[64 * (column / 4) + 4 * output + column % 4])};
      };
      dot_columns(bytes, stride, weight, out);
    }
    S::V scale() const { return halves(group_ + 512); }

   private:
    const std::byte* group_;
  };
};

struct Dots {
  using Q4 = FourBit<true>;
  using ScaledQ4 = FourBit<false>;
  using Q8 = EightBit;
};

}  // namespace

const KernelTable& scalar_table() {
  static constexpr KernelTable table = make_table<S, Dots>("scalar");
  return table;
}

}  // namespace lockstep::kernels::cpu
