#include "kernels/packed_matrix.h"

#include <cstring>
#include <string>

#include "base/error.h"
#include "kernels/byte_layout.h"
#include "kernels/fp8.h"
#include "kernels/half.h"
#include "kernels/load.h"
#include "kernels/weight_format.h"

namespace lockstep::kernels {
namespace {

constexpr std::size_t kNibbleBytes = 256;
constexpr std::size_t kByteBytes = 512;
constexpr int kColumns = 32;

void store_u16(std::byte* to, std::uint16_t value) { std::memcpy(to, &value, sizeof value); }

// Where one value lies in its group.
struct Place {
  std::size_t byte;
  int shift = 0;  // of a nibble
};

template <PackedLayout kLayout>
Place nibble_place(int column, int r) {
  if constexpr (kLayout == PackedLayout::rows) {
    return {static_cast<std::size_t>(64 * (r / 4) + 2 * column + r % 4 / 2), r % 2 * 4};
  }
  return {static_cast<std::size_t>(64 * ((column % 16) / 4) + 4 * r + column % 4),
          column < 16 ? 0 : 4};
}

template <PackedLayout kLayout>
std::size_t byte_place(int column, int r) {
  return static_cast<std::size_t>(kLayout == PackedLayout::rows
                                      ? 32 * r + column % 2 * 16 + column / 2
                                      : 64 * (column / 4) + 4 * r + column % 4);
}

template <PackedLayout kLayout>
std::size_t e4m3_place(int column, int r) {
  return static_cast<std::size_t>(
      kLayout == PackedLayout::rows ? 32 * r + column : 32 * (column / 2) + 2 * r + column % 2);
}

template <PackedLayout kLayout>
std::size_t bf16_place(int column, int r) {
  return static_cast<std::size_t>(kLayout == PackedLayout::rows
                                      ? 64 * r + 2 * column
                                      : 64 * (column / 2) + 4 * r + 2 * (column % 2));
}

template <PackedLayout kLayout>
void pack_nibbles(std::byte* group, int r, const QuantizedGroup& from) {
  for (int column = 0; column < kColumns; ++column) {
    const std::byte nibble{
        static_cast<std::uint8_t>(from.values[static_cast<std::size_t>(column)])};
    const Place place = nibble_place<kLayout>(column, r);
    group[place.byte] |= nibble << place.shift;
  }
  store_u16(group + kNibbleBytes + 2 * r, from.scale);
}

template <PackedLayout kLayout>
void pack_q4(std::byte* group, int r, const QuantizedGroup& from) {
  pack_nibbles<kLayout>(group, r, from);
  store_u16(group + kNibbleBytes + 32 + 2 * r, from.minimum);
}

template <PackedLayout kLayout>
void pack_q8(std::byte* group, int r, const QuantizedGroup& from) {
  for (int column = 0; column < kColumns; ++column) {
    group[byte_place<kLayout>(column, r)] =
        std::byte(from.values[static_cast<std::size_t>(column)]);
  }
  store_u16(group + kByteBytes + 2 * r, from.scale);
}

using GroupPacker = void (*)(std::byte* group, int r, const QuantizedGroup& from);

template <PackedLayout kLayout>
GroupPacker packer(PackedFormat format) {
  if (format == PackedFormat::q4) return pack_q4<kLayout>;
  return format == PackedFormat::q4_0 ? pack_nibbles<kLayout> : pack_q8<kLayout>;
}

template <PackedLayout kLayout>
void pack_f8(std::byte* group, int r, const E4m3Group& from) {
  for (int column = 0; column < kColumns; ++column) {
    group[e4m3_place<kLayout>(column, r)] =
        std::byte{from.values[static_cast<std::size_t>(column)]};
  }
  std::memcpy(group + kByteBytes + 4 * r, &from.scale, sizeof from.scale);
}

// Interleaves one row with the fifteen beside it, in units that stay together: a value, or a pair.
template <class Unit>
void spread(const std::byte* from, std::int64_t units, std::byte* to) {
  for (std::int64_t i = 0; i < units; ++i) {
    std::memcpy(to + i * kRowBlock * std::int64_t{sizeof(Unit)},
                from + i * std::int64_t{sizeof(Unit)}, sizeof(Unit));
  }
}

// The 32 values of row `r` in a group.
template <PackedLayout kLayout>
void unpack(PackedFormat format, const std::byte* group, int r, float* out) {
  const auto half = [&](std::size_t byte) { return load<std::uint16_t>(group + byte); };
  const std::size_t scale_at = static_cast<std::size_t>(2 * r);
  switch (format) {
    case PackedFormat::q4:
    case PackedFormat::q4_0: {
      const float scale = f16_to_float(half(kNibbleBytes + scale_at));
      const float minimum = format == PackedFormat::q4_0
                                ? -8 * scale
                                : f16_to_float(half(kNibbleBytes + 32 + scale_at));
      for (int column = 0; column < kColumns; ++column) {
        const Place place = nibble_place<kLayout>(column, r);
        const int nibble = (std::to_integer<int>(group[place.byte]) >> place.shift) & 15;
        out[column] = scale * static_cast<float>(nibble) + minimum;
      }
      return;
    }
    case PackedFormat::q8: {
      const float scale = f16_to_float(half(kByteBytes + scale_at));
      for (int column = 0; column < kColumns; ++column) {
        const auto byte = std::to_integer<std::int8_t>(group[byte_place<kLayout>(column, r)]);
        out[column] = scale * static_cast<float>(byte);
      }
      return;
    }
    case PackedFormat::f8: {
      const float scale = load<float>(group + kByteBytes + 4 * r);
      for (int column = 0; column < kColumns; ++column) {
        const auto byte = std::to_integer<std::uint8_t>(group[e4m3_place<kLayout>(column, r)]);
        out[column] = scale * bf16_to_float(e4m3_to_bf16(byte));
      }
      return;
    }
    case PackedFormat::bf16:
      for (int column = 0; column < kColumns; ++column) {
        out[column] = bf16_to_float(half(bf16_place<kLayout>(column, r)));
      }
      return;
    case PackedFormat::f16:
      for (int column = 0; column < kColumns; ++column) {
        out[column] = f16_to_float(half(static_cast<std::size_t>(2 * (16 * column + r))));
      }
      return;
    case PackedFormat::f32: break;
  }
  for (int column = 0; column < kColumns; ++column) {
    out[column] = load<float>(group + 4 * (16 * column + r));
  }
}

}  // namespace

std::size_t packed_group_bytes(PackedFormat format) {
  switch (format) {
    case PackedFormat::q4: return kNibbleBytes + 64;
    case PackedFormat::q4_0: return kNibbleBytes + 32;
    case PackedFormat::q8: return kByteBytes + 32;
    case PackedFormat::f8: return kByteBytes + 64;
    case PackedFormat::bf16:
    case PackedFormat::f16: return 2 * kColumns * kRowBlock;
    case PackedFormat::f32: break;
  }
  return 4 * kColumns * kRowBlock;
}

PackedMatrix::PackedMatrix(PackedFormat format, std::int64_t rows, std::int64_t columns,
                           Arena& arena, PackedLayout layout)
    : format_(format),
      layout_(layout),
      rows_(rows),
      columns_(columns),
      block_bytes_(static_cast<std::size_t>(columns / kColumns) * packed_group_bytes(format_)) {
  if (rows < 1 || columns < 1 || columns % kColumns != 0) {
    throw Error("a weight matrix of " + std::to_string(rows) + " x " + std::to_string(columns) +
                " cannot be packed: columns must be a multiple of " + std::to_string(kColumns));
  }
  data_ = arena.allocate(bytes());
}

std::byte* PackedMatrix::group(std::int64_t row, std::int64_t group) {
  return const_cast<std::byte*>(std::as_const(*this).group(row, group));
}

const std::byte* PackedMatrix::group(std::int64_t row, std::int64_t group) const {
  return block(row / kRowBlock) + static_cast<std::size_t>(group) * packed_group_bytes(format_);
}

void PackedMatrix::set_row(std::int64_t row, const StoredMatrix& source, std::int64_t source_row,
                           std::int64_t first_column) {
  if (format_ == PackedFormat::f8) return set_e4m3(row, source, source_row, first_column);
  const GroupReader read = weight_format(source.type).read_group;
  if (read == nullptr) return set_values(row, source, source_row, first_column);
  const int r = static_cast<int>(row % kRowBlock);
  const auto pack = layout_ == PackedLayout::rows ? packer<PackedLayout::rows>(format_)
                                                  : packer<PackedLayout::interleaved>(format_);
  for (std::int64_t g = 0; g < groups(); ++g) {
    pack(group(row, g), r, read(source, source_row, first_column / kColumns + g));
  }
}

void PackedMatrix::set_e4m3(std::int64_t row, const StoredMatrix& source, std::int64_t source_row,
                            std::int64_t first_column) {
  const auto pack = layout_ == PackedLayout::rows ? pack_f8<PackedLayout::rows>
                                                  : pack_f8<PackedLayout::interleaved>;
  for (std::int64_t g = 0; g < groups(); ++g) {
    pack(group(row, g), static_cast<int>(row % kRowBlock),
         read_e4m3(source, source_row, first_column / kColumns + g));
  }
}

void PackedMatrix::set_values(std::int64_t row, const StoredMatrix& source, std::int64_t source_row,
                              std::int64_t first_column) {
  const std::int64_t r = row % kRowBlock;
  const auto width = static_cast<std::int64_t>(block_bytes(source.type));
  const std::byte* from = source.values + (source_row * source.columns + first_column) * width;
  if (layout_ == PackedLayout::rows) {
    const std::size_t group_width = kColumns * sizeof(std::uint16_t);
    for (std::int64_t g = 0; g < groups(); ++g) {
      std::memcpy(group(row, g) + bf16_place<PackedLayout::rows>(0, static_cast<int>(r)),
                  from + g * static_cast<std::int64_t>(group_width), group_width);
    }
  } else if (format_ == PackedFormat::f16) {
    spread<std::uint16_t>(from, columns_, group(row, 0) + 2 * r);
  } else {  // f32, and bf16 in pairs
    spread<std::uint32_t>(from, columns_ * width / 4, group(row, 0) + 4 * r);
  }
}

void PackedMatrix::get_row(std::int64_t row, std::span<float> out) const {
  const int r = static_cast<int>(row % kRowBlock);
  const auto unpack_group = layout_ == PackedLayout::rows ? unpack<PackedLayout::rows>
                                                          : unpack<PackedLayout::interleaved>;
  for (std::int64_t g = 0; g < groups(); ++g) {
    unpack_group(format_, group(row, g), r, out.data() + g * kColumns);
  }
}

}  // namespace lockstep::kernels
