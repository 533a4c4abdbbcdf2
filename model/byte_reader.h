// Reads little-endian fields from bytes that cannot be trusted.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "model/fail.h"

namespace lockstep::model {

// A position in `bytes` that never passes their end. `field` is what an error calls the thing read.
class ByteReader {
 public:
  static_assert(std::endian::native == std::endian::little, "files are read without byte swaps");

  // REQUIRES: `bytes` and `file` outlive the reader.
  ByteReader(std::span<const std::byte> bytes, const std::string& file)
      : bytes_(bytes), file_(&file) {}

  std::uint64_t position() const { return position_; }
  std::uint64_t remaining() const { return bytes_.size() - position_; }

  // REQUIRES: T is a fixed-size number.
  template <class T>
  T read(std::string_view field) {
    T value;
    std::memcpy(&value, take(sizeof(T), field).data(), sizeof(T));
    return value;
  }

  // The next `size` bytes, still in place.
  std::span<const std::byte> take(std::uint64_t size, std::string_view field) {
    if (size > remaining()) {
      fail(*file_, std::string(field) + ": " + std::to_string(size) + " bytes at offset " +
                       std::to_string(position_) + " are beyond the end of the file (" +
                       std::to_string(bytes_.size()) + " bytes)");
    }
    const auto taken = bytes_.subspan(position_, size);
    position_ += size;
    return taken;
  }

  // A GGUF string: a 64-bit length, then that many bytes, at most `limit`; not copied.
  std::string_view read_string(std::string_view field, std::uint64_t limit) {
    const auto size = read<std::uint64_t>(field);
    if (size > limit) {
      fail(*file_, std::string(field) + ": string of " + std::to_string(size) +
                       " bytes; the limit is " + std::to_string(limit));
    }
    const auto text = take(size, field);
    return {reinterpret_cast<const char*>(text.data()), text.size()};
  }

 private:
  std::span<const std::byte> bytes_;
  const std::string* file_;
  std::uint64_t position_ = 0;
};

}  // namespace lockstep::model
