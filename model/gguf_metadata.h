// The key-value section of a GGUF file, with typed and bounded access.
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace lockstep::model {

// Numbers as in the specification (gguf_metadata_value_type).
enum class GgufType : std::uint32_t {
  uint8,
  int8,
  uint16,
  int16,
  uint32,
  int32,
  float32,
  boolean,
  string,
  array,
  uint64,
  int64,
  float64
};

// An array as it lies in the file. `strings` are its elements when `element` is string; any other
// type's elements are the packed `scalars`.
struct GgufArray {
  GgufType element;
  std::vector<std::string_view> strings;
  std::span<const std::byte> scalars;
};

using GgufValue =
    std::variant<bool, std::uint64_t, std::int64_t, double, std::string_view, GgufArray>;

// Values by key. Strings are views into the mapped file, which must outlive this. Each accessor
// gives nothing when the key is absent, and throws Error naming the file, the key and what was
// expected when the value has another type or lies outside the stated range.
class GgufMetadata {
 public:
  explicit GgufMetadata(std::string file) : file_(std::move(file)) {}

  const std::string& file() const { return file_; }
  // False when the key is there already.
  bool add(std::string_view key, GgufValue value);
  const GgufValue* find(std::string_view key) const;

  // An integer of any width and sign in [low, high].
  std::optional<std::int64_t> integer(std::string_view key, std::int64_t low,
                                      std::int64_t high) const;
  // A finite number in [low, high].
  std::optional<double> number(std::string_view key, double low, double high) const;
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::string_view> string(std::string_view key) const;
  std::optional<std::span<const std::string_view>> strings(std::string_view key) const;
  // An array of integers, all of them in [low, high].
  std::optional<std::vector<std::int64_t>> integers(std::string_view key, std::int64_t low,
                                                    std::int64_t high) const;
  // An array of float32, all of them finite.
  std::optional<std::vector<float>> floats(std::string_view key) const;

  // The value of an accessor, or Error "metadata '<key>' is missing".
  template <class T>
  T require(std::string_view key, std::optional<T> value) const {
    if (!value) fail_missing(key);
    return *std::move(value);
  }

  // Throws Error "<file>: metadata '<key>': <message>".
  [[noreturn]] void fail_at(std::string_view key, const std::string& message) const;

 private:
  [[noreturn]] void fail_missing(std::string_view key) const;

  std::string file_;
  std::map<std::string, GgufValue, std::less<>> values_;
};

}  // namespace lockstep::model
