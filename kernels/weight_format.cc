#include "kernels/weight_format.h"

#include <array>
#include <string>

#include "base/error.h"
#include "kernels/awq_layout.h"
#include "kernels/byte_layout.h"
#include "kernels/gguf_blocks.h"
#include "kernels/gguf_k_blocks.h"
#include "kernels/gptq_layout.h"

namespace lockstep::kernels {
namespace {

// In the order of DType.
constexpr std::array kFormats{
    WeightFormat{DType::f32, "f32", 1, 4, PackedFormat::f32, nullptr},
    WeightFormat{DType::f16, "f16", 1, 2, PackedFormat::f16, nullptr},
    WeightFormat{DType::bf16, "bf16", 1, 2, PackedFormat::bf16, nullptr},
    WeightFormat{DType::i32, "i32", 1, 4, std::nullopt, nullptr},
    WeightFormat{DType::i64, "i64", 1, 8, std::nullopt, nullptr},
    WeightFormat{DType::q4_0, "q4_0", 32, 18, PackedFormat::q4_0, read_q4_0},
    WeightFormat{DType::q4_1, "q4_1", 32, 20, PackedFormat::q4, read_q4_1},
    WeightFormat{DType::q5_0, "q5_0", 32, 22, PackedFormat::q8, read_q5_0},
    WeightFormat{DType::q5_1, "q5_1", 32, 24, PackedFormat::q8, read_q5_1},
    WeightFormat{DType::q8_0, "q8_0", 32, 34, PackedFormat::q8, read_q8_0},
    WeightFormat{DType::q4_k, "q4_k", 256, 144, PackedFormat::q4, read_q4_k},
    WeightFormat{DType::q5_k, "q5_k", 256, 176, PackedFormat::q8, read_q5_k},
    WeightFormat{DType::q6_k, "q6_k", 256, 210, PackedFormat::q8, read_q6_k},
    WeightFormat{DType::gptq, "gptq", 32, 16, PackedFormat::q4, read_gptq},
    WeightFormat{DType::gptq_8, "gptq_8", 32, 16, PackedFormat::q4_0, read_gptq},
    WeightFormat{DType::awq, "awq", 32, 16, PackedFormat::q4, read_awq},
    WeightFormat{DType::awq_8, "awq_8", 32, 16, PackedFormat::q4_0, read_awq},
    WeightFormat{DType::i8, "i8", 1, 1, PackedFormat::q8, read_i8},
    WeightFormat{DType::u8, "u8", 1, 1, PackedFormat::q8, read_u8},
    WeightFormat{DType::u4, "u4", 32, 16, PackedFormat::q4_0, read_u4},
    WeightFormat{DType::u4_zeros, "u4_zeros", 32, 16, PackedFormat::q4, read_u4_zeros},
    WeightFormat{DType::e4m3, "e4m3", 1, 1, PackedFormat::f8, nullptr},
};

constexpr bool in_order() {
  for (std::size_t i = 0; i < kFormats.size(); ++i) {
    if (static_cast<std::size_t>(kFormats[i].type) != i) return false;
  }
  return true;
}
static_assert(in_order());

}  // namespace

const WeightFormat& weight_format(DType type) { return kFormats[static_cast<std::size_t>(type)]; }

std::size_t block_values(DType type) { return weight_format(type).block_values; }
std::size_t block_bytes(DType type) { return weight_format(type).block_bytes; }
bool is_of_weights(DType type) { return weight_format(type).packed.has_value(); }
std::string_view name(DType type) { return weight_format(type).name; }

PackedFormat packed_format(DType type) {
  const auto packed = weight_format(type).packed;
  if (!packed) throw Error("type " + std::string(name(type)) + " is not one of weights");
  return *packed;
}

}  // namespace lockstep::kernels
