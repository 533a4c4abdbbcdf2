// The values of a template: Python's, immutable, with the work and depth of each known.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/error.h"

namespace lockstep::model::jinja {

// What went wrong while a template ran; the interpreter adds the place.
class TemplateError : public Error {
 public:
  using Error::Error;
};

class Value;
class Dict;
class Object;
using Items = std::vector<Value>;

// The value of what is not there; `reason` is the message if it is used after all.
struct Undefined {
  std::shared_ptr<const std::string> reason;
};

struct None {};

// A list or a tuple. Immutable once in a Value, so `weight` and `depth` stay true.
struct Sequence {
  explicit Sequence(Items items);
  Items items;
  std::size_t weight;  // steps to walk all of it, shared parts counted each time
  int depth;           // 1 for a sequence of scalars
};

struct Range {
  std::int64_t start;
  std::int64_t stop;
  std::int64_t step;  // never 0
  std::int64_t size() const;
  std::int64_t at(std::int64_t index) const { return start + index * step; }
};

enum class DictPart { kKeys, kValues, kItems };

// What dict.keys(), dict.values() and dict.items() return.
struct DictView {
  std::shared_ptr<const Dict> dict;
  DictPart part;
};

// One value of a template. Cheap to copy: everything larger than a word is shared. Objects belong
// to the Runtime, so no cycle of values can leak and no value outlives its render.
class Value {
 public:
  Value() = default;
  Value(None) : data_(None{}) {}               // NOLINT: implicit on purpose
  Value(bool value) : data_(value) {}          // NOLINT
  Value(std::int64_t value) : data_(value) {}  // NOLINT
  Value(double value) : data_(value) {}        // NOLINT
  Value(std::string value)
      : data_(std::make_shared<const std::string>(std::move(value))) {}  // NOLINT
  Value(Object* object) : data_(object) {}                               // NOLINT
  Value(const void*) = delete;  // else a pointer would silently become a bool
  static Value undefined(std::string reason);
  static Value list(Items items);
  static Value tuple(Items items);
  static Value dict(Dict dict);
  static Value view(DictView view);
  static Value range(Range range);
  // An integer from 2^63 on: kept for what prints it, but not computed with.
  static Value large(std::uint64_t integer);

  bool is_undefined() const { return holds<Undefined>(); }
  bool is_none() const { return holds<None>(); }
  bool is_bool() const { return holds<bool>(); }
  bool is_float() const { return holds<double>(); }
  bool is_string() const { return holds<Text>(); }
  bool is_list() const { return holds<ListRef>(); }
  bool is_tuple() const { return holds<TupleRef>(); }
  bool is_sequence() const { return is_list() || is_tuple(); }
  bool is_dict() const { return holds<DictRef>(); }
  bool is_view() const { return holds<ViewRef>(); }
  bool is_range() const { return holds<RangeRef>(); }
  bool is_object() const { return holds<Object*>(); }
  bool is_large() const { return holds<LargeInteger>(); }
  // Python's int, of which bool is a kind, where it has 64 bits.
  bool is_integer() const { return holds<std::int64_t>() || is_bool(); }
  bool is_number() const { return is_integer() || is_large() || is_float(); }

  // REQUIRES: the value is of that kind.
  const Undefined& as_undefined() const { return std::get<Undefined>(data_); }
  std::int64_t as_integer() const;
  double as_double() const;  // any number
  std::uint64_t as_large() const { return std::get<LargeInteger>(data_).integer; }
  const std::string& as_string() const { return *std::get<Text>(data_); }
  const Items& items() const { return sequence().items; }
  const Sequence& sequence() const;
  const Dict& as_dict() const { return *std::get<DictRef>(data_); }
  std::shared_ptr<const Dict> shared_dict() const { return std::get<DictRef>(data_); }
  const DictView& as_view() const { return *std::get<ViewRef>(data_); }
  const Range& as_range() const { return *std::get<RangeRef>(data_); }
  Object* as_object() const { return std::get<Object*>(data_); }

  // Steps to walk the value with everything inside it.
  std::size_t weight() const;
  // Containers inside each other: 0 for a scalar.
  int depth() const;
  // Python's type(value).__name__.
  std::string type_name() const;
  // Python's bool(value).
  bool truthy() const;

 private:
  using Text = std::shared_ptr<const std::string>;
  struct ListRef {
    std::shared_ptr<const Sequence> sequence;
  };
  struct TupleRef {
    std::shared_ptr<const Sequence> sequence;
  };
  struct LargeInteger {
    std::uint64_t integer;
  };
  using DictRef = std::shared_ptr<const Dict>;
  using ViewRef = std::shared_ptr<const DictView>;
  using RangeRef = std::shared_ptr<const Range>;

  template <class T>
  bool holds() const {
    return std::holds_alternative<T>(data_);
  }

  std::variant<Undefined, None, bool, std::int64_t, double, Text, ListRef, TupleRef, DictRef,
               ViewRef, RangeRef, Object*, LargeInteger>
      data_;
};

// Python's dict: keeps the order of insertion. Immutable once in a Value.
class Dict {
 public:
  using Entry = std::pair<Value, Value>;
  // nullptr when the key is not there. Throws TemplateError for a key that cannot be hashed.
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  // Replaces the value of a key that is there already, in its place.
  void set(Value key, Value value);
  const std::vector<Entry>& entries() const { return entries_; }
  std::size_t weight() const { return weight_; }
  int depth() const { return depth_; }

 private:
  static constexpr std::size_t kLinearEntries = 8;  // below it a scan beats the index
  std::size_t find_index(const Value& key, std::size_t hash) const;

  std::vector<Entry> entries_;
  // hash -> entry, when large. Ordered, as hashes are a template's to choose: it could fill one
  // bucket.
  std::multimap<std::size_t, std::size_t> index_;
  std::size_t weight_ = 1;
  int depth_ = 1;
};

// Python's a == b.
bool equal(const Value& a, const Value& b);
// Python's hash(): equal values have equal hashes. Throws TemplateError for list, dict and the
// like.
std::size_t hash_value(const Value& value);

}  // namespace lockstep::model::jinja
