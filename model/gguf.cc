#include "model/gguf.h"

#include <algorithm>
#include <bit>
#include <set>
#include <string_view>
#include <utility>

#include "model/byte_reader.h"
#include "model/fail.h"
#include "model/gguf_types.h"
#include "model/limits.h"
#include "model/tensor_layout.h"

namespace lockstep::model {
namespace {

constexpr std::uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr std::int64_t kDefaultAlignment = 32;
constexpr std::int64_t kQuantizationVersion =
    2;  // GGML_QNT_VERSION: the block layouts of kernels::DType

struct Header {
  std::uint64_t tensors;
  std::uint64_t entries;
};

// A tensor's description, before its place in the file is checked.
struct TensorInfo {
  std::string name;
  kernels::DType dtype;
  std::vector<std::int64_t> shape;
  std::uint64_t offset;  // from the start of the data section
  std::uint64_t bytes;
};

std::uint64_t read_count(ByteReader& reader, const std::string& file, const std::string& field,
                         std::uint64_t limit) {
  const auto count = reader.read<std::uint64_t>(field);
  if (count > limit) {
    fail(file, field + ": " + std::to_string(count) + "; the limit is " + std::to_string(limit));
  }
  return count;
}

Header read_header(ByteReader& reader, const std::string& file) {
  if (reader.read<std::uint32_t>("magic") != kMagic) fail(file, "magic: is not a GGUF file");
  const auto version = reader.read<std::uint32_t>("version");
  if (version != 2 && version != 3) {
    const bool swapped = version == 0x02000000 || version == 0x03000000;
    fail(file, swapped ? "version: a big-endian file; only little-endian ones are supported"
                       : "version: " + std::to_string(version) + "; supported are 2 and 3");
  }
  const std::uint64_t tensors = read_count(reader, file, "tensor count", kMaxTensors);
  const std::uint64_t entries = read_count(reader, file, "metadata count", kMaxMetadataEntries);
  return {tensors, entries};
}

// Bytes of one element of a scalar type, 0 for strings, arrays and unknown types.
std::uint64_t scalar_bytes(GgufType type) {
  switch (type) {
    case GgufType::uint8:
    case GgufType::int8:
    case GgufType::boolean: return 1;
    case GgufType::uint16:
    case GgufType::int16: return 2;
    case GgufType::uint32:
    case GgufType::int32:
    case GgufType::float32: return 4;
    case GgufType::uint64:
    case GgufType::int64:
    case GgufType::float64: return 8;
    default: return 0;
  }
}

GgufArray read_array(ByteReader& reader, const std::string& file, const std::string& field) {
  GgufArray array{static_cast<GgufType>(reader.read<std::uint32_t>(field)), {}, {}};
  const auto count = reader.read<std::uint64_t>(field);
  const bool strings = array.element == GgufType::string;
  // A string takes at least its 8 bytes of length: no count may promise more than the file holds.
  const std::uint64_t least = strings ? 8 : scalar_bytes(array.element);
  if (least == 0) {
    fail(file, field + ": arrays of type " +
                   std::to_string(static_cast<std::uint32_t>(array.element)) +
                   " are not supported");
  }
  if (count > reader.remaining() / least) {
    fail(file, field + ": " + std::to_string(count) + " elements; the rest of the file (" +
                   std::to_string(reader.remaining()) + " bytes) has no room for them");
  }
  if (!strings) {
    array.scalars = reader.take(count * least, field);
    return array;
  }
  array.strings.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) {
    array.strings.push_back(reader.read_string(field, kMaxStringBytes));
  }
  return array;
}

bool read_boolean(ByteReader& reader, const std::string& file, const std::string& field) {
  const auto value = reader.read<std::uint8_t>(field);
  if (value > 1) fail(file, field + ": boolean of value " + std::to_string(value));
  return value == 1;
}

GgufValue read_value(ByteReader& reader, const std::string& file, const std::string& field) {
  const auto type = reader.read<std::uint32_t>(field);
  switch (static_cast<GgufType>(type)) {
    case GgufType::uint8: return std::uint64_t{reader.read<std::uint8_t>(field)};
    case GgufType::uint16: return std::uint64_t{reader.read<std::uint16_t>(field)};
    case GgufType::uint32: return std::uint64_t{reader.read<std::uint32_t>(field)};
    case GgufType::uint64: return reader.read<std::uint64_t>(field);
    case GgufType::int8: return std::int64_t{reader.read<std::int8_t>(field)};
    case GgufType::int16: return std::int64_t{reader.read<std::int16_t>(field)};
    case GgufType::int32: return std::int64_t{reader.read<std::int32_t>(field)};
    case GgufType::int64: return reader.read<std::int64_t>(field);
    case GgufType::float32: return double{reader.read<float>(field)};
    case GgufType::float64: return reader.read<double>(field);
    case GgufType::boolean: return read_boolean(reader, file, field);
    case GgufType::string: return reader.read_string(field, kMaxStringBytes);
    case GgufType::array: return read_array(reader, file, field);
  }
  fail(file, field + ": unknown type " + std::to_string(type));
}

GgufMetadata read_metadata(ByteReader& reader, const std::string& file, std::uint64_t entries) {
  GgufMetadata metadata(file);
  for (std::uint64_t i = 0; i < entries; ++i) {
    const auto key = reader.read_string("metadata key " + std::to_string(i), kMaxKeyBytes);
    if (!metadata.add(key, read_value(reader, file, "metadata " + in_quotes(key)))) {
      metadata.fail_at(key, "is there twice");
    }
  }
  return metadata;
}

TensorInfo read_tensor_info(ByteReader& reader, const std::string& file, std::uint64_t index) {
  TensorInfo info;
  info.name = reader.read_string("tensor name " + std::to_string(index), kMaxTensorNameBytes);
  const std::string field = "tensor " + in_quotes(info.name);
  const auto dimensions = reader.read<std::uint32_t>(field);
  if (dimensions < 1 || dimensions > kMaxDimensions) {
    fail(file, field + ": " + std::to_string(dimensions) +
                   " dimensions; a tensor has between 1 and " + std::to_string(kMaxDimensions));
  }
  info.shape.resize(dimensions);
  for (std::uint32_t i = dimensions; i-- > 0;) {  // the file lists the innermost one first
    const auto size = reader.read<std::uint64_t>(field);
    if (size > INT64_MAX) fail(file, field + ": dimension of " + std::to_string(size));
    info.shape[i] = static_cast<std::int64_t>(size);
  }
  info.dtype = gguf_dtype(reader.read<std::uint32_t>(field), file, field);
  info.offset = reader.read<std::uint64_t>(field);
  info.bytes = tensor_bytes(info.dtype, info.shape, file, field);
  return info;
}

std::vector<TensorInfo> read_tensor_infos(ByteReader& reader, const std::string& file,
                                          std::uint64_t count) {
  std::vector<TensorInfo> infos;
  std::set<std::string> names;
  for (std::uint64_t i = 0; i < count; ++i) {
    infos.push_back(read_tensor_info(reader, file, i));
    if (!names.insert(infos.back().name).second) {
      fail(file, "tensor " + in_quotes(infos.back().name) + " is there twice");
    }
  }
  return infos;
}

std::uint64_t data_alignment(const GgufMetadata& metadata) {
  constexpr std::string_view kKey = "general.alignment";
  const auto alignment = static_cast<std::uint64_t>(
      metadata.integer(kKey, kMinAlignment, kMaxAlignment).value_or(kDefaultAlignment));
  if (!std::has_single_bit(alignment)) {
    metadata.fail_at(kKey, std::to_string(alignment) + " is not a power of two");
  }
  return alignment;
}

void refuse_overlaps(std::vector<TensorInfo> infos, const std::string& file) {
  std::ranges::sort(infos, {}, &TensorInfo::offset);
  for (std::size_t i = 1; i < infos.size(); ++i) {
    if (infos[i].offset < infos[i - 1].offset + infos[i - 1].bytes) {
      fail(file, "tensor " + in_quotes(infos[i].name) + ": overlaps tensor " +
                     in_quotes(infos[i - 1].name));
    }
  }
}

// Places the tensors in the data section, which starts at the first multiple of `alignment` at or
// after `header_end`.
std::vector<Tensor> place_tensors(const std::vector<TensorInfo>& infos, const MappedFile& file,
                                  std::uint64_t header_end, std::uint64_t alignment) {
  const std::uint64_t start = (header_end + alignment - 1) / alignment * alignment;
  const std::uint64_t size = file.bytes().size();
  std::vector<Tensor> tensors;
  for (const TensorInfo& info : infos) {
    const std::string field = "tensor " + in_quotes(info.name);
    if (info.offset % alignment != 0) {
      fail(file.path(), field + ": offset " + std::to_string(info.offset) +
                            " is not a multiple of the alignment, " + std::to_string(alignment));
    }
    const auto begin = checked_add(start, info.offset);
    const auto end = begin ? checked_add(*begin, info.bytes) : std::nullopt;
    if (!end || *end > size) {
      fail(file.path(), field + ": offset " + std::to_string(info.offset) + " + " +
                            std::to_string(info.bytes) + " bytes is beyond the end of the file (" +
                            std::to_string(size) + " bytes, data from " + std::to_string(start) +
                            ")");
    }
    tensors.push_back(
        {info.name, info.dtype, info.shape, file.bytes().subspan(*begin, info.bytes)});
  }
  refuse_overlaps(infos, file.path());
  return tensors;
}

// Quantized blocks had other layouts in older versions.
void check_quantization_version(const GgufMetadata& metadata,
                                const std::vector<TensorInfo>& infos) {
  constexpr std::string_view kKey = "general.quantization_version";
  const bool quantized = std::ranges::any_of(
      infos, [](const TensorInfo& info) { return !kernels::is_plain(info.dtype); });
  if (quantized && metadata.find(kKey) != nullptr) {
    metadata.integer(kKey, kQuantizationVersion, kQuantizationVersion);
  }
}

}  // namespace

GgufFile read_gguf(const std::string& path) {
  MappedFile file(path);
  ByteReader reader(file.bytes(), path);
  const Header header = read_header(reader, path);
  GgufMetadata metadata = read_metadata(reader, path, header.entries);
  const auto infos = read_tensor_infos(reader, path, header.tensors);
  check_quantization_version(metadata, infos);
  auto tensors = place_tensors(infos, file, reader.position(), data_alignment(metadata));
  return {std::move(file), std::move(metadata), std::move(tensors)};
}

}  // namespace lockstep::model
