// Builds GGUF files byte by byte, right or wrong.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep::model {

// Little-endian bytes of a number.
template <class T>
std::string bytes_of(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

// A GGUF string: 64-bit length and text.
inline std::string gguf_string(std::string_view text) {
  return bytes_of<std::uint64_t>(text.size()).append(text);
}

// Metadata values with their types in front.
inline std::string gguf_u32(std::uint32_t v) { return bytes_of<std::uint32_t>(4) + bytes_of(v); }
inline std::string gguf_f32(float v) { return bytes_of<std::uint32_t>(6) + bytes_of(v); }
inline std::string gguf_bool(std::uint8_t v) { return bytes_of<std::uint32_t>(7) + bytes_of(v); }
inline std::string gguf_text(std::string_view v) {
  return bytes_of<std::uint32_t>(8) + gguf_string(v);
}
inline std::string gguf_array(std::uint32_t element, std::uint64_t count, std::string_view bytes) {
  return (bytes_of<std::uint32_t>(9) + bytes_of(element) + bytes_of(count)).append(bytes);
}
inline std::string gguf_texts(const std::vector<std::string>& values) {
  std::string bytes;
  for (const std::string& value : values) bytes += gguf_string(value);
  return gguf_array(8, values.size(), bytes);
}
inline std::string gguf_i32s(const std::vector<std::int32_t>& values) {
  std::string bytes;
  for (const std::int32_t value : values) bytes += bytes_of(value);
  return gguf_array(5, values.size(), bytes);
}

// A file as parts that a test may bend before it asks for the bytes.
struct GgufWriter {
  struct Entry {
    std::string key;
    std::string value;  // with its type
  };
  struct Info {
    std::string name;
    std::vector<std::uint64_t> dimensions;  // innermost first, as in the file
    std::uint32_t type;
    std::uint64_t offset;
    std::string data;
  };

  std::string magic = "GGUF";
  std::uint32_t version = 3;
  std::uint64_t alignment = 32;
  std::uint64_t extra_tensors = 0;  // added to the count in the header
  std::uint64_t extra_entries = 0;
  std::vector<Entry> entries;
  std::vector<Info> tensors;

  // Replaces a value, or adds it.
  void set(const std::string& key, const std::string& value) {
    for (Entry& entry : entries) {
      if (entry.key == key) {
        entry.value = value;
        return;
      }
    }
    entries.push_back({key, value});
  }
  void remove(const std::string& key) {
    std::erase_if(entries, [&](const Entry& entry) { return entry.key == key; });
  }
  Info& tensor(const std::string& name) {
    for (Info& info : tensors) {
      if (info.name == name) return info;
    }
    throw std::out_of_range(name);
  }
  // Adds a tensor behind the ones that are there.
  void add(const std::string& name, std::vector<std::uint64_t> dimensions, std::uint32_t type,
           std::string data) {
    std::uint64_t offset = 0;
    if (!tensors.empty()) offset = padded(tensors.back().offset + tensors.back().data.size());
    tensors.push_back({name, std::move(dimensions), type, offset, std::move(data)});
  }

  std::uint64_t padded(std::uint64_t size) const {
    return (size + alignment - 1) / alignment * alignment;
  }

  // Everything before the data section, without padding.
  std::string header() const {
    std::string bytes = magic + bytes_of(version) + bytes_of(tensors.size() + extra_tensors) +
                        bytes_of(entries.size() + extra_entries);
    for (const Entry& entry : entries) bytes += gguf_string(entry.key) + entry.value;
    for (const Info& info : tensors) {
      bytes +=
          gguf_string(info.name) + bytes_of(static_cast<std::uint32_t>(info.dimensions.size()));
      for (const std::uint64_t dimension : info.dimensions) bytes += bytes_of(dimension);
      bytes += bytes_of(info.type) + bytes_of(info.offset);
    }
    return bytes;
  }

  std::string build() const {
    std::string bytes = header();
    for (const Info& info : tensors) {
      bytes.resize(padded(bytes.size()), '\0');
      bytes += info.data;
    }
    return bytes;
  }
};

}  // namespace lockstep::model
