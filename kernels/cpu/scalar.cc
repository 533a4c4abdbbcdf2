// The family that every machine has, and the reference for the others.
#include <cstring>

#include "kernels/cpu/simd_scalar.h"
#include "kernels/cpu/table_body.h"
#include "kernels/half.h"

namespace lockstep::kernels::cpu {
namespace {

using S = ScalarSimd;

S::V halves(const std::byte* p) { return S::load_f16(reinterpret_cast<const std::uint16_t*>(p)); }

// What both formats share: D::weight(column, output) is a whole number.
template <class D>
class Group {
 public:
  template <int R>
  void dots(const QuantizedRows& x, S::Ints (&out)[R]) const {
    for (int i = 0; i < R; ++i) {
      for (int output = 0; output < 16; ++output) {
        out[i].lane[output] = dot(x.values + i * x.value_stride, output);
      }
    }
  }
  template <int R>
  void widen(const QuantizedRows& x, S::Ints (&dots)[R]) const {
    for (int i = 0; i < R; ++i) {
      if (!x.wide[i * x.group_stride]) continue;
      for (int output = 0; output < 16; ++output) {
        dots[i].lane[output] =
            kWideBase * dots[i].lane[output] + dot(x.low + i * x.value_stride, output);
      }
    }
  }

 private:
  std::int32_t dot(const std::int8_t* bytes, int output) const {
    const D& weights = static_cast<const D&>(*this);
    std::int32_t total = 0;
    for (int column = 0; column < kGroup; ++column) {
      total += weights.weight(column, output) * bytes[column];
    }
    return total;
  }
};

template <bool kMinimum>
struct FourBit {
  static constexpr bool kHasMinimum = kMinimum;
  static constexpr std::size_t kGroupBytes = kMinimum ? 320 : 288;
  class Weights : public Group<Weights> {
   public:
    explicit Weights(const std::byte* group) : group_(group) {}
    int weight(int column, int output) const {
      const auto both =
          std::to_integer<int>(group_[64 * (column % 16 / 4) + 4 * output + column % 4]);
      return (column < 16 ? both & 15 : both >> 4) - (kMinimum ? 0 : 8);
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
  class Weights : public Group<Weights> {
   public:
    explicit Weights(const std::byte* group) : group_(group) {}
    int weight(int column, int output) const {
      return std::to_integer<std::int8_t>(group_[64 * (column / 4) + 4 * output + column % 4]);
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
