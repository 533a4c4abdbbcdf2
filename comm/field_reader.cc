#include "comm/field_reader.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

namespace lockstep::comm {
namespace {

constexpr std::size_t kMaxKeys = 64;        // the bits of MapReader::taken_
constexpr std::size_t kMaxShownBytes = 64;  // of a stranger's key in a message

std::string describe(const msgpack::object& value) {
  switch (value.type) {
    case msgpack::type::NIL: return "nil";
    case msgpack::type::BOOLEAN: return "a boolean";
    case msgpack::type::POSITIVE_INTEGER: return std::to_string(value.via.u64);
    case msgpack::type::NEGATIVE_INTEGER: return std::to_string(value.via.i64);
    case msgpack::type::FLOAT32:
    case msgpack::type::FLOAT64: {
      std::ostringstream text;
      text << value.via.f64;
      return text.str();
    }
    case msgpack::type::STR: return "a string";
    case msgpack::type::BIN: return "bytes";
    case msgpack::type::ARRAY: return "an array";
    case msgpack::type::MAP: return "a map";
    case msgpack::type::EXT: return "an extension type";
  }
  return "unknown";
}

[[noreturn]] void wrong_type(const msgpack::object& value, std::string_view wanted,
                             const Path& path) {
  fault_at(path, "must be " + std::string(wanted) + ", not " + describe(value));
}

std::string bound_text(double bound) {
  if (bound == 0x1p64) return "2^64 - 1";  // the nearest number that a double has
  std::ostringstream text;
  text.precision(std::numeric_limits<std::int32_t>::digits10 + 1);
  text << bound;
  return text.str();
}

[[noreturn]] void out_of_range(const msgpack::object& value, double low, double high,
                               bool above_low, const Path& path) {
  std::ostringstream rule;
  rule << "is " << describe(value) << ", must be ";
  if (high == Limit::kUnbounded) {
    rule << (above_low ? "above " : "at least ") << bound_text(low);
  } else if (above_low) {
    rule << "above " << bound_text(low) << " and at most " << bound_text(high);
  } else {
    rule << "between " << bound_text(low) << " and " << bound_text(high);
  }
  fault_at(path, rule.str());
}

void check_length(std::size_t length, std::string_view unit, const Limit& limit, const Path& path) {
  if (length >= limit.min_length && length <= limit.max_length) return;
  std::ostringstream rule;
  rule << "has " << length << " " << unit << ", must have at ";
  if (length < limit.min_length) {
    rule << "least " << limit.min_length;
  } else {
    rule << "most " << limit.max_length;
  }
  fault_at(path, rule.str());
}

std::string_view string_of(const msgpack::object& value) {
  return {value.via.str.ptr, value.via.str.size};
}

template <class Integer>
void read_integer(const msgpack::object& from, Integer& to, const Limit& limit, const Path& path) {
  using Bounds = std::numeric_limits<Integer>;
  const bool negative = from.type == msgpack::type::NEGATIVE_INTEGER;
  if (!negative && from.type != msgpack::type::POSITIVE_INTEGER) {
    wrong_type(from, "an integer", path);
  }
  const bool fits = negative
                        ? std::is_signed_v<Integer> && from.via.i64 >= std::int64_t{Bounds::min()}
                        : from.via.u64 <= std::uint64_t{Bounds::max()};
  const auto value = static_cast<Integer>(from.via.u64);
  const auto number = static_cast<double>(value);
  if (!fits || number < limit.low || number > limit.high) {
    out_of_range(from, std::max<double>(limit.low, Bounds::min()),
                 std::min<double>(limit.high, Bounds::max()), false, path);
  }
  to = value;
}

template <class Real>
void read_real(const msgpack::object& from, Real& to, const Limit& limit, const Path& path) {
  double number = 0;
  switch (from.type) {
    case msgpack::type::POSITIVE_INTEGER: number = static_cast<double>(from.via.u64); break;
    case msgpack::type::NEGATIVE_INTEGER: number = static_cast<double>(from.via.i64); break;
    case msgpack::type::FLOAT32:
    case msgpack::type::FLOAT64: number = from.via.f64; break;
    default: wrong_type(from, "a number", path);
  }
  if (!std::isfinite(number)) wrong_type(from, "a finite number", path);
  const double low = std::max<double>(limit.low, std::numeric_limits<Real>::lowest());
  const double high = std::min<double>(limit.high, std::numeric_limits<Real>::max());
  // As the field's type has it, too: 0.01f is a little less than 0.01.
  const double least = std::min<double>(low, static_cast<Real>(low));
  const auto inside = [&](double x) {
    return (limit.above_low ? x > low : x >= least) && x <= high;
  };
  // Twice, as narrowing may round onto a bound that is itself excluded.
  if (!inside(number) || !inside(static_cast<Real>(number))) {
    out_of_range(from, low, high, limit.above_low, path);
  }
  to = static_cast<Real>(number);
}

}  // namespace

std::string Path::text() const {
  const std::string before = parent == nullptr ? "" : parent->text();
  if (name.empty()) return parent == nullptr ? "" : before + "[" + std::to_string(index) + "]";
  return before.empty() ? std::string(name) : before + "." + std::string(name);
}

void fault_at(const Path& path, const std::string& rule) {
  const std::string field = path.text();
  throw FieldFault{field, field.empty() ? "the message " + rule : "'" + field + "' " + rule};
}

void read_value(const msgpack::object& from, bool& to, const Limit&, const Path& path) {
  if (from.type != msgpack::type::BOOLEAN) wrong_type(from, "a boolean", path);
  to = from.via.boolean;
}

void read_value(const msgpack::object& from, std::int32_t& to, const Limit& limit,
                const Path& path) {
  read_integer(from, to, limit, path);
}

void read_value(const msgpack::object& from, std::uint32_t& to, const Limit& limit,
                const Path& path) {
  read_integer(from, to, limit, path);
}

void read_value(const msgpack::object& from, std::uint64_t& to, const Limit& limit,
                const Path& path) {
  read_integer(from, to, limit, path);
}

void read_value(const msgpack::object& from, float& to, const Limit& limit, const Path& path) {
  read_real(from, to, limit, path);
}

void read_value(const msgpack::object& from, double& to, const Limit& limit, const Path& path) {
  read_real(from, to, limit, path);
}

void read_value(const msgpack::object& from, std::string& to, const Limit& limit,
                const Path& path) {
  if (from.type != msgpack::type::STR) wrong_type(from, "a string", path);
  const std::string_view text = string_of(from);
  check_length(text.size(), "bytes", limit, path);
  if (!is_utf8(text)) fault_at(path, "is not valid UTF-8");
  to = text;
}

void read_value(const msgpack::object& from, BiasMap& to, const Limit& limit, const Path& path) {
  if (from.type != msgpack::type::MAP) wrong_type(from, "a map", path);
  const std::span entries(from.via.map.ptr, from.via.map.size);
  check_length(entries.size(), "entries", limit, path);
  to.clear();
  for (const msgpack::object_kv& entry : entries) {
    auto& [token_id, bias] = to.emplace_back();
    read_value(entry.key, token_id, Limit{.low = 0}, path);
    read_value(entry.val, bias, limit, Path{&path, {}, static_cast<std::size_t>(token_id)});
  }
  std::sort(to.begin(), to.end());
  const auto same_id = [](const auto& a, const auto& b) { return a.first == b.first; };
  const auto twice = std::adjacent_find(to.begin(), to.end(), same_id);
  if (twice != to.end()) {
    fault_at(path, "holds token " + std::to_string(twice->first) + " twice");
  }
}

void read_bytes(const msgpack::object& from, std::string& to, const Path& path) {
  if (from.type != msgpack::type::BIN) wrong_type(from, "bytes", path);
  to.assign(from.via.bin.ptr, from.via.bin.size);
}

std::span<const msgpack::object> read_array(const msgpack::object& from, const Limit& limit,
                                            const Path& path) {
  if (from.type != msgpack::type::ARRAY) wrong_type(from, "an array", path);
  const std::span<const msgpack::object> items(from.via.array.ptr, from.via.array.size);
  check_length(items.size(), "elements", limit, path);
  return items;
}

MapReader::MapReader(const msgpack::object& map, const Path& path) : path_(path) {
  if (map.type != msgpack::type::MAP) wrong_type(map, "a map", path);
  entries_ = {map.via.map.ptr, map.via.map.size};
  check_length(entries_.size(), "fields", {.max_length = kMaxKeys}, path);
  for (const msgpack::object_kv& entry : entries_) {
    if (entry.key.type != msgpack::type::STR) {
      fault_at(path, "has a key that is not a string but " + describe(entry.key));
    }
  }
}

const msgpack::object* MapReader::take(std::string_view key) {
  const msgpack::object* found = nullptr;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (string_of(entries_[i].key) != key) continue;
    if (found != nullptr) fault_at(Path{&path_, key}, "occurs twice");
    found = &entries_[i].val;
    taken_ |= std::uint64_t{1} << i;
  }
  return found;
}

void MapReader::finish() const {
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (taken_ >> i & 1) continue;
    const std::string_view key = string_of(entries_[i].key);
    const bool shown = !key.empty() && key.size() <= kMaxShownBytes && is_utf8(key);
    if (!shown) fault_at(path_, "has a field that is unknown and has no short name");
    fault_at(Path{&path_, key}, "is not a field of this message");
  }
}

}  // namespace lockstep::comm
