// The family that every machine has, and the reference for the others.
#include <cstring>

#include "kernels/cpu/row_dots.h"
#include "kernels/cpu/simd_scalar.h"
#include "kernels/cpu/table_body.h"
#include "kernels/half.h"

namespace lockstep::kernels::cpu {
namespace {

using S = ScalarSimd;

S::V halves(const std::byte* p) { return S::load_f16(reinterpret_cast<const std::uint16_t*>(p)); }

// Sums weight(column, output) * bytes[column] over the group's 32 columns.
template <class Weight>
S::Ints dot_columns(const std::int8_t* bytes, const Weight& weight) {
  S::Ints dots{};
  for (int output = 0; output < 16; ++output) {
    for (int column = 0; column < kGroup; ++column) {
      dots.lane[output] += weight(column, output) * bytes[column];
    }
  }
  return dots;
}

template <bool kMinimum>
struct FourBit {
  static constexpr bool kHasMinimum = kMinimum;
  static constexpr std::size_t kGroupBytes = kMinimum ? 320 : 288;
  class Weights : public RowDots<S, Weights> {
   public:
    explicit Weights(const std::byte* group) : group_(group) {}
    S::Ints dot(const std::int8_t* bytes, std::int32_t) const {
      return dot_columns(bytes, [this](int column, int output) {
        const auto both =
            std::to_integer<int>(group_[64 * (column % 16 / 4) + 4 * output + column % 4]);
        return (column < 16 ? both & 15 : both >> 4) - (kMinimum ? 0 : 8);
      });
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
  class Weights : public RowDots<S, Weights> {
   public:
    explicit Weights(const std::byte* group) : group_(group) {}
    S::Ints dot(const std::int8_t* bytes, std::int32_t) const {
      return dot_columns(bytes, [this](int column, int output) {
        return int{
            std::to_integer<std::int8_t>(group_[64 * (column / 4) + 4 * output + column % 4])};
      });
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
