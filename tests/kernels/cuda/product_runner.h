// Weights of every tile format with the numbers that they stand for, and products by them.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "kernels/cuda/product.h"
#include "kernels/fp8.h"
#include "tests/kernels/cuda/random_values.h"
#include "tests/kernels/cuda/test_gpu.h"

namespace lockstep::kernels::cuda {

// A matrix [rows, columns] of which any part can be packed.
class RandomWeights {
 public:
  RandomWeights(TileFormat format, std::int32_t rows, std::int32_t columns)
      : format_(format), rows_(rows), columns_(columns) {
    std::mt19937 random(3);
    const auto count = static_cast<std::size_t>(rows * columns);
    halves_ = to_bf16(random_floats(count, 4, 0.1f));
    bytes_.resize(count);
    for (auto& byte : bytes_) {
      do {
        byte = static_cast<std::uint8_t>(random());
      } while (!is_int8() && (byte & 0x7f) == 0x7f);
    }
    for (std::int32_t i = 0; i < rows; ++i) scales_.push_back(random_scale(random));
    for (std::int32_t i = 0; i < blocks_across() * (rows / 8 + 1); ++i) {
      block_scales_.push_back(random_scale(random));
    }
    for (std::int32_t i = 0; i < rows * (columns / 32); ++i) {
      Int4Group group{{}, float_to_f16(random_scale(random)), float_to_f16(-random_scale(random))};
      for (auto& value : group.values) value = random() % 16;
      groups_.push_back(group);
      Int8Group& bytes = byte_groups_.emplace_back();
      for (std::size_t j = 0; j < 32; ++j) {
        bytes.values[j] = static_cast<std::int8_t>(bytes_[32 * static_cast<std::size_t>(i) + j]);
      }
      bytes.scale = group.scale;
    }
  }

  // The number that element (row, column) stands for.
  double value(std::int32_t row, std::int32_t column) const {
    const auto at = static_cast<std::size_t>(row * columns_ + column);
    switch (format_) {
      case TileFormat::bf16: return bf16_to_float(halves_[at]);
      case TileFormat::int8_channel:
        return double{scales_[std::size_t(row)]} * static_cast<std::int8_t>(bytes_[at]);
      case TileFormat::int8_group:
        return double{f16_to_float(byte_groups_[at / 32].scale)} *
               byte_groups_[at / 32].values[at % 32];
      case TileFormat::e4m3_channel:
        return double{scales_[std::size_t(row)]} * e4m3_to_float(bytes_[at]);
      case TileFormat::e4m3_block:
        return double{block_scale(row, column)} * e4m3_to_float(bytes_[at]);
      case TileFormat::int4_group: {
        const Int4Group& group = groups_[at / 32];
        return double{f16_to_float(group.scale)} * group.values[at % 32] +
               double{f16_to_float(group.minimum)};
      }
    }
    throw Error("no such format");
  }

  // Columns [begin, end) of all rows.
  HostWeightTiles packed(std::int32_t begin, std::int32_t end) const {
    const auto cut = [&](const auto& values, std::int32_t per_row) {
      std::remove_cvref_t<decltype(values)> some;
      for (std::int32_t row = 0; row < rows_; ++row) {
        const auto first = values.begin() + std::int64_t{row} * (columns_ / per_row);
        some.insert(some.end(), first + begin / per_row, first + end / per_row);
      }
      return some;
    };
    const std::int32_t columns = end - begin;
    switch (format_) {
      case TileFormat::bf16: return pack_bf16(cut(halves_, 1), rows_, columns);
      case TileFormat::int8_channel:
      case TileFormat::e4m3_channel:
        return pack_channels(format_, cut(bytes_, 1), scales_, rows_, columns);
      case TileFormat::int8_group: return pack_int8(cut(byte_groups_, 32), rows_, columns);
      case TileFormat::e4m3_block:
        return pack_e4m3_blocks(
            cut(bytes_, 1),
            [&](std::int32_t row, std::int32_t column) { return block_scale(row, begin + column); },
            rows_, columns);
      case TileFormat::int4_group: return pack_int4(cut(groups_, 32), rows_, columns);
    }
    throw Error("no such format");
  }

 private:
  static float random_scale(std::mt19937& random) {
    return 0.001f * static_cast<float>(1 + random() % 100);
  }
  bool is_int8() const {
    return format_ == TileFormat::int8_channel || format_ == TileFormat::int8_group;
  }
  std::int32_t blocks_across() const { return columns_ / 128 + 1; }
  float block_scale(std::int32_t row, std::int32_t column) const {
    return block_scales_[static_cast<std::size_t>(row / 8 * blocks_across() + column / 128)];
  }

  TileFormat format_;
  std::int32_t rows_, columns_;
  std::vector<std::uint16_t> halves_;
  std::vector<std::uint8_t> bytes_;
  std::vector<float> scales_, block_scales_;
  std::vector<Int8Group> byte_groups_;
  std::vector<Int4Group> groups_;
};

// Multiplies x [m, columns] in bf16, its columns from `first_column` on, by W^T, and returns the
// array that body(args, memory) has made for the result. The part of W has as many columns as
// `program` sums.
template <class Body>
auto run_product(const HostWeightTiles& weights, const std::vector<std::uint16_t>& x,
                 std::int32_t m, std::int32_t first_column, const LaneProgram& program,
                 const ProductShape* shape, const Body& body) {
  TestGpu memory;
  memory.require_waiting();
  const HostSumPlan plan = make_sum_plan(program);
  const auto count = [](const auto& array) { return static_cast<std::int32_t>(array.size()); };
  ProductArgs args{.weights = {.format = weights.format,
                               .tiles = memory.constant(weights.tiles, "tiles"),
                               .scales = memory.constant(weights.scales, "scales"),
                               .rows = weights.rows,
                               .groups = weights.groups},
                   .x = memory.variable(x, "x") + first_column,  // an earlier kernel's
                   .x_stride = std::ssize(x) / m,
                   .m = m,
                   .plan = {.leaves = memory.constant(plan.leaves, "leaves"),
                            .lanes = memory.constant(plan.lanes, "lanes"),
                            .additions = memory.constant(plan.additions, "additions"),
                            .level_ends = memory.constant(plan.level_ends, "level_ends"),
                            .segments = memory.constant(plan.segments, "segments"),
                            .num_leaves = count(plan.leaves),
                            .num_lanes = count(plan.lanes) - 1,
                            .num_levels = count(plan.level_ends),
                            .num_segments = count(plan.segments),
                            .depth = plan.depth},
                   .out = nullptr,
                   .row_stride = weights.rows,
                   .segment_stride = std::int64_t{m} * weights.rows};
  const auto* out = body(args, memory);
  if (shape != nullptr) {
    memory.run_product(args, *shape);
  } else {
    memory.gpu().run(args);
  }
  return memory.values(out);
}

// The same: [segments, m, rows].
inline std::vector<float> multiplied(const HostWeightTiles& weights,
                                     const std::vector<std::uint16_t>& x, std::int32_t m,
                                     std::int32_t first_column, const LaneProgram& program,
                                     const ProductShape* shape = nullptr) {
  return run_product(
      weights, x, m, first_column, program, shape, [](ProductArgs& args, TestGpu& memory) {
        const std::int64_t floats = args.plan.num_segments * args.segment_stride;
        return args.out = memory.blank<float>(static_cast<std::size_t>(floats), "out");
      });
}

// What SwiGLU makes of the sums of weights whose rows are gate's and up's by turns: bf16
// [m, rows / 2].
inline std::vector<std::uint16_t> activated_product(const HostWeightTiles& weights,
                                                    const std::vector<std::uint16_t>& x,
                                                    std::int32_t m,
                                                    const ProductShape* shape = nullptr) {
  return run_product(weights, x, m, 0, whole_sum(32 * weights.groups), shape,
                     [](ProductArgs& args, TestGpu& memory) {
                       const std::int64_t values = args.m * std::int64_t{args.weights.rows} / 2;
                       return args.activated = memory.blank<std::uint16_t>(
                                  static_cast<std::size_t>(values), "activated");
                     });
}

}  // namespace lockstep::kernels::cuda
