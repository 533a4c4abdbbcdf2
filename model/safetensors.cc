#include "model/safetensors.h"

#include <algorithm>
#include <cstdint>
#include <string>

#include "model/byte_reader.h"
#include "model/fail.h"
#include "model/json_file.h"
#include "model/limits.h"
#include "model/tensor_layout.h"

namespace lockstep::model {
namespace {

using kernels::DType;

DType read_dtype(const JsonFields& entry) {
  const std::string name = entry.require("dtype", entry.string("dtype"));
  if (name == "F32") return DType::f32;
  if (name == "F16") return DType::f16;
  if (name == "BF16") return DType::bf16;
  if (name == "F8_E4M3") return DType::e4m3;
  if (name == "I32") return DType::i32;
  if (name == "I64") return DType::i64;
  if (name == "I8") return DType::i8;
  entry.fail_at(
      "dtype",
      in_quotes(name) + " is not supported; supported are F32, F16, BF16, F8_E4M3, I64, I32, I8");
}

// An array of integers between 0 and INT64_MAX.
std::vector<std::int64_t> read_integers(const JsonFields& entry, std::string_view key) {
  const nlohmann::json* array = entry.array(key);
  if (array == nullptr) entry.fail_at(key, "is missing");
  std::vector<std::int64_t> values;
  for (const nlohmann::json& element : *array) {
    if (!element.is_number_unsigned() || element.get<std::uint64_t>() > INT64_MAX) {
      entry.fail_at(key,
                    "has an element that is not an integer from 0 to " + std::to_string(INT64_MAX));
    }
    values.push_back(element.get<std::int64_t>());
  }
  return values;
}

// `data` is all that follows the header.
Tensor read_tensor(const std::string& name, const JsonFields& entry,
                   std::span<const std::byte> data) {
  Tensor tensor{name, read_dtype(entry), read_integers(entry, "shape"), {}};
  if (tensor.shape.empty()) tensor.shape = {1};  // a single number
  const std::uint64_t bytes =
      tensor_bytes(tensor.dtype, tensor.shape, entry.file(), "tensor " + in_quotes(name));
  const auto offsets = read_integers(entry, "data_offsets");
  if (offsets.size() != 2) entry.fail_at("data_offsets", "is not a pair");
  const auto begin = static_cast<std::uint64_t>(offsets[0]);
  const auto end = static_cast<std::uint64_t>(offsets[1]);
  const std::string range = shape_text(offsets);
  if (begin > end || end > data.size()) {
    entry.fail_at("data_offsets",
                  range + " is not within the data (" + std::to_string(data.size()) + " bytes)");
  }
  if (end - begin != bytes) {
    entry.fail_at("data_offsets", range + " is not the " + std::to_string(bytes) +
                                      " bytes of type and shape " + shape_text(tensor.shape));
  }
  tensor.data = data.subspan(begin, bytes);
  if (reinterpret_cast<std::uintptr_t>(tensor.data.data()) % element_alignment(tensor.dtype) != 0) {
    entry.fail_at("data_offsets", range +
                                      " is not aligned to the tensor's type; save the file "
                                      "again with a current safetensors");
  }
  return tensor;
}

// The format allows neither overlaps nor holes.
void check_packing(std::vector<Tensor> tensors, std::span<const std::byte> data,
                   const std::string& file) {
  std::ranges::sort(tensors, {}, [](const Tensor& tensor) { return tensor.data.data(); });
  const std::byte* expected = data.data();
  for (const Tensor& tensor : tensors) {
    if (tensor.data.data() != expected) {
      fail(file,
           "tensor " + in_quotes(tensor.name) + ": data_offsets overlap or leave a hole before it");
    }
    expected += tensor.data.size();
  }
  if (expected != data.data() + data.size()) {
    fail(file, "data_offsets: the last " + std::to_string(data.data() + data.size() - expected) +
                   " bytes belong to no tensor");
  }
}

}  // namespace

std::vector<Tensor> read_safetensors(const MappedFile& file) {
  const std::string& path = file.path();
  ByteReader reader(file.bytes(), path);
  const auto size = reader.read<std::uint64_t>("header length");
  if (size > kMaxSafetensorsHeaderBytes) {
    fail(path, "header length: " + std::to_string(size) + "; the limit is " +
                   std::to_string(kMaxSafetensorsHeaderBytes));
  }
  const auto header = reader.take(size, "header length");
  const auto data = file.bytes().subspan(reader.position());
  const nlohmann::json json =
      parse_json({reinterpret_cast<const char*>(header.data()), header.size()}, path);
  if (!json.is_object()) fail(path, "header: is not a JSON object");
  if (json.size() > kMaxTensors) {
    fail(path, "header: " + std::to_string(json.size()) + " tensors; the limit is " +
                   std::to_string(kMaxTensors));
  }
  std::vector<Tensor> tensors;
  for (const auto& [name, entry] : json.items()) {
    if (name == "__metadata__") continue;
    if (name.size() > kMaxTensorNameBytes) {
      fail(path, "tensor " + in_quotes(name) + ": name of " + std::to_string(name.size()) +
                     " bytes; the limit is " + std::to_string(kMaxTensorNameBytes));
    }
    tensors.push_back(
        read_tensor(name, JsonFields(entry, path, "tensor " + in_quotes(name) + "."), data));
  }
  check_packing(tensors, data, path);
  return tensors;
}

}  // namespace lockstep::model
