// Writes structs as msgpack maps (comm/message_fields.h).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "comm/message_fields.h"
#include "comm/msgpack_message.h"

namespace lockstep::comm {

inline void pack_value(Packer& packer, bool value) {
  value ? packer.pack_true() : packer.pack_false();
}
inline void pack_value(Packer& packer, std::int32_t value) { packer.pack_int32(value); }
inline void pack_value(Packer& packer, std::uint32_t value) { packer.pack_uint32(value); }
inline void pack_value(Packer& packer, std::uint64_t value) { packer.pack_uint64(value); }
inline void pack_value(Packer& packer, float value) { packer.pack_float(value); }
inline void pack_value(Packer& packer, double value) { packer.pack_double(value); }
inline void pack_value(Packer& packer, std::string_view value) {
  packer.pack_str(static_cast<std::uint32_t>(value.size()));
  packer.pack_str_body(value.data(), static_cast<std::uint32_t>(value.size()));
}
inline void pack_value(Packer& packer, const std::string& value) {
  pack_value(packer, std::string_view(value));
}
inline void pack_value(Packer& packer, const BiasMap& value) {
  packer.pack_map(static_cast<std::uint32_t>(value.size()));
  for (const auto& [token_id, bias] : value) {
    pack_value(packer, token_id);
    pack_value(packer, bias);
  }
}
template <class T>
void pack_value(Packer& packer, const std::optional<T>& value);
template <class T>
void pack_value(Packer& packer, const std::vector<T>& value);
template <class T>
requires std::is_class_v<T>
void pack_value(Packer& packer, const T& value);

// Collects the entries of one map, as their number comes first in the bytes.
class MapWriter {
 public:
  template <class T>
  void entry(std::string_view key, const T& value) {
    Packer packer(entries_);
    pack_value(packer, key);
    pack_value(packer, value);
    ++count_;
  }
  void bytes_entry(std::string_view key, std::string_view value) {
    Packer packer(entries_);
    pack_value(packer, key);
    packer.pack_bin(static_cast<std::uint32_t>(value.size()));
    packer.pack_bin_body(value.data(), static_cast<std::uint32_t>(value.size()));
    ++count_;
  }
  void finish(Packer& packer) const {
    packer.pack_map(count_);
    packer.pack_str_body(entries_.bytes.data(), static_cast<std::uint32_t>(entries_.bytes.size()));
  }
  // The map as a whole message.
  std::string message() const {
    StringSink sink;
    Packer packer(sink);
    finish(packer);
    return std::move(sink.bytes);
  }

 private:
  StringSink entries_;
  std::uint32_t count_ = 0;
};

// The side of a fields() table that writes `value` into `map`.
template <class T>
class FieldWriter {
 public:
  FieldWriter(MapWriter& map, const T& value) : map_(map), value_(value) {}

  template <class M>
  void required(std::string_view name, M T::*member, const Limit& = {}) {
    map_.entry(name, value_.*member);
  }
  void required(std::string_view name, std::string T::*member, Bytes) {
    map_.bytes_entry(name, value_.*member);
  }
  template <class M>
  void optional(std::string_view name, M T::*member, const Limit& = {}) {
    if (!is_default(value_.*member, T{}.*member)) map_.entry(name, value_.*member);
  }

 private:
  template <class M>
  static bool is_default(const M& value, const M& default_value) {
    if constexpr (requires { value.has_value(); }) {
      return !value.has_value();
    } else if constexpr (requires { value.empty(); }) {
      return value.empty();
    } else {
      return value == default_value;
    }
  }

  MapWriter& map_;
  const T& value_;
};

template <class T>
void write_fields(MapWriter& map, const T& value) {
  FieldWriter<T> writer(map, value);
  fields(writer, Type<T>{});
}

template <class T>
void pack_value(Packer& packer, const std::optional<T>& value) {
  pack_value(packer, *value);  // an empty one is never written
}

template <class T>
void pack_value(Packer& packer, const std::vector<T>& value) {
  packer.pack_array(static_cast<std::uint32_t>(value.size()));
  for (const T& item : value) pack_value(packer, item);
}

template <class T>
requires std::is_class_v<T>
void pack_value(Packer& packer, const T& value) {
  MapWriter map;
  write_fields(map, value);
  map.finish(packer);
}

}  // namespace lockstep::comm
