// Reads structs from msgpack maps (comm/message_fields.h). Everything throws FieldFault, which
// names the field by its path and the limit.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "comm/message_fields.h"
#include "comm/msgpack_message.h"

namespace lockstep::comm {

// Where a value stands, e.g. starts[3].token_ids[7]. Rendered only for a fault.
struct Path {
  const Path* parent = nullptr;
  std::string_view name;  // empty: an element of an array
  std::size_t index = 0;

  std::string text() const;
};

[[noreturn]] void fault_at(const Path& path, const std::string& rule);

void read_value(const msgpack::object& from, bool& to, const Limit& limit, const Path& path);
void read_value(const msgpack::object& from, std::int32_t& to, const Limit& limit,
                const Path& path);
void read_value(const msgpack::object& from, std::uint32_t& to, const Limit& limit,
                const Path& path);
void read_value(const msgpack::object& from, std::uint64_t& to, const Limit& limit,
                const Path& path);
void read_value(const msgpack::object& from, float& to, const Limit& limit, const Path& path);
void read_value(const msgpack::object& from, double& to, const Limit& limit, const Path& path);
void read_value(const msgpack::object& from, std::string& to, const Limit& limit, const Path& path);
void read_value(const msgpack::object& from, BiasMap& to, const Limit& limit, const Path& path);
void read_bytes(const msgpack::object& from, std::string& to, const Path& path);
// Checks type and length, and returns the elements.
std::span<const msgpack::object> read_array(const msgpack::object& from, const Limit& limit,
                                            const Path& path);

template <class T>
void read_value(const msgpack::object& from, std::optional<T>& to, const Limit& limit,
                const Path& path) {
  read_value(from, to.emplace(), limit, path);
}
template <class T>
void read_value(const msgpack::object& from, std::vector<T>& to, const Limit& limit,
                const Path& path);
template <class T>
requires std::is_class_v<T>
void read_value(const msgpack::object& from, T& to, const Limit& limit, const Path& path);

// A map whose keys are strings, each of which must be taken once.
class MapReader {
 public:
  // Throws unless `map` is a map with string keys, few enough to be a message of ours.
  MapReader(const msgpack::object& map, const Path& path);

  // The key's value, or nullptr. Throws when the key occurs twice.
  const msgpack::object* take(std::string_view key);
  // Throws unless all keys have been taken.
  void finish() const;

  const Path& path() const { return path_; }

 private:
  std::span<const msgpack::object_kv> entries_;
  std::uint64_t taken_ = 0;  // bit i: entries_[i]
  const Path& path_;
};

// The side of a fields() table that fills `value` from `map`.
template <class T>
class FieldReader {
 public:
  FieldReader(MapReader& map, T& value) : map_(map), value_(value) {}

  template <class M>
  void required(std::string_view name, M T::*member, const Limit& limit = {}) {
    const Path path{&map_.path(), name};
    read_value(find(name, path), value_.*member, limit, path);
  }
  void required(std::string_view name, std::string T::*member, Bytes) {
    const Path path{&map_.path(), name};
    read_bytes(find(name, path), value_.*member, path);
  }
  template <class M>
  void optional(std::string_view name, M T::*member, const Limit& limit = {}) {
    const Path path{&map_.path(), name};
    if (const msgpack::object* from = map_.take(name)) {
      read_value(*from, value_.*member, limit, path);
    }
  }

 private:
  const msgpack::object& find(std::string_view name, const Path& path) {
    const msgpack::object* from = map_.take(name);
    if (from == nullptr) fault_at(path, "is required");
    return *from;
  }

  MapReader& map_;
  T& value_;
};

template <class T>
void read_fields(MapReader& map, T& value) {
  FieldReader<T> reader(map, value);
  fields(reader, Type<T>{});
}

template <class T>
void read_value(const msgpack::object& from, std::vector<T>& to, const Limit& limit,
                const Path& path) {
  const std::span<const msgpack::object> items = read_array(from, limit, path);
  const Limit item_limit{.low = limit.low,
                         .high = limit.high,
                         .above_low = limit.above_low,
                         .min_length = limit.min_item_length,
                         .max_length = limit.max_item_length};
  to.resize(items.size());
  for (std::size_t i = 0; i < items.size(); ++i) {
    read_value(items[i], to[i], item_limit, Path{&path, {}, i});
  }
}

template <class T>
requires std::is_class_v<T>
void read_value(const msgpack::object& from, T& to, const Limit&, const Path& path) {
  MapReader map(from, path);
  read_fields(map, to);
  map.finish();
}

}  // namespace lockstep::comm
