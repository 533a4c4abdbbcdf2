#include "model/jinja_value.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "model/jinja_limits.h"
#include "model/jinja_runtime.h"

namespace lockstep::model::jinja {
namespace {

std::size_t saturating_add(std::size_t a, std::size_t b) {
  return a > std::numeric_limits<std::size_t>::max() - b ? std::numeric_limits<std::size_t>::max()
                                                         : a + b;
}

std::size_t hash_number(const Value& value) {
  if (value.is_integer()) return std::hash<std::int64_t>{}(value.as_integer());
  const double number = value.as_double();
  if (std::trunc(number) == number && std::abs(number) < 0x1p63) {
    return std::hash<std::int64_t>{}(static_cast<std::int64_t>(number));
  }
  return std::hash<double>{}(number);
}

constexpr std::size_t kHashSeed = 0x345678;

std::size_t combined_hash(std::size_t hash, std::size_t next) { return hash * 1000003 ^ next; }

// As equal_ranges(): the start counts where there is an element, the step where there are two.
std::size_t hash_range(const Range& range) {
  const std::int64_t size = range.size();
  std::size_t hash = combined_hash(kHashSeed, static_cast<std::size_t>(size));
  if (size > 0) hash = combined_hash(hash, static_cast<std::size_t>(range.start));
  if (size > 1) hash = combined_hash(hash, static_cast<std::size_t>(range.step));
  return hash;
}

bool equal_numbers(const Value& a, const Value& b) {
  if (a.is_integer() && b.is_integer()) return a.as_integer() == b.as_integer();
  if (a.is_large() && b.is_large()) return a.as_large() == b.as_large();
  if ((a.is_large() && b.is_integer()) || (a.is_integer() && b.is_large())) return false;
  return a.as_double() == b.as_double();
}

bool equal_dicts(const Dict& a, const Dict& b) {
  if (a.entries().size() != b.entries().size()) return false;
  return std::all_of(a.entries().begin(), a.entries().end(), [&](const Dict::Entry& entry) {
    const Value* other = b.find(entry.first);
    return other && equal(entry.second, *other);
  });
}

bool equal_ranges(const Range& a, const Range& b) {
  if (a.size() != b.size()) return false;
  return a.size() == 0 || (a.start == b.start && (a.size() == 1 || a.step == b.step));
}

}  // namespace

Sequence::Sequence(Items values) : items(std::move(values)), weight(1), depth(1) {
  for (const Value& item : items) {
    weight = saturating_add(weight, item.weight());
    depth = std::max(depth, 1 + item.depth());
  }
}

std::int64_t Range::size() const {
  if (step > 0 && start < stop) return (stop - start - 1) / step + 1;
  if (step < 0 && start > stop) return (start - stop - 1) / -step + 1;
  return 0;
}

Value Value::undefined(std::string reason) {
  Value value;
  value.data_ = Undefined{std::make_shared<const std::string>(std::move(reason))};
  return value;
}

Value Value::list(Items items) {
  Value value;
  value.data_ = ListRef{std::make_shared<const Sequence>(std::move(items))};
  return value;
}

Value Value::tuple(Items items) {
  Value value;
  value.data_ = TupleRef{std::make_shared<const Sequence>(std::move(items))};
  return value;
}

Value Value::dict(Dict dict) {
  Value value;
  value.data_ = std::make_shared<const Dict>(std::move(dict));
  return value;
}

Value Value::view(DictView view) {
  Value value;
  value.data_ = std::make_shared<const DictView>(std::move(view));
  return value;
}

Value Value::range(Range range) {
  Value value;
  value.data_ = std::make_shared<const Range>(range);
  return value;
}

Value Value::large(std::uint64_t integer) {
  Value value;
  value.data_ = LargeInteger{integer};
  return value;
}

std::int64_t Value::as_integer() const {
  return is_bool() ? std::get<bool>(data_) : std::get<std::int64_t>(data_);
}

double Value::as_double() const {
  if (is_large()) return static_cast<double>(as_large());
  return is_float() ? std::get<double>(data_) : static_cast<double>(as_integer());
}

const Sequence& Value::sequence() const {
  return is_list() ? *std::get<ListRef>(data_).sequence : *std::get<TupleRef>(data_).sequence;
}

std::size_t Value::weight() const {
  if (is_string()) return 1 + as_string().size() / kBytesPerStep;
  if (is_sequence()) return sequence().weight;
  if (is_dict()) return as_dict().weight();
  if (is_view()) return as_view().dict->weight();
  if (is_range()) return 1 + static_cast<std::size_t>(as_range().size());
  return 1;
}

int Value::depth() const {
  if (is_sequence()) return sequence().depth;
  if (is_dict()) return as_dict().depth();
  if (is_view()) return 1 + as_view().dict->depth();
  return 0;
}

std::string Value::type_name() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "NoneType";
  if (is_bool()) return "bool";
  if (is_integer() || is_large()) return "int";
  if (is_float()) return "float";
  if (is_string()) return "str";
  if (is_list()) return "list";
  if (is_tuple()) return "tuple";
  if (is_dict()) return "dict";
  if (is_range()) return "range";
  if (is_object()) return as_object()->type_name();
  switch (as_view().part) {
    case DictPart::kKeys: return "dict_keys";
    case DictPart::kValues: return "dict_values";
    case DictPart::kItems: break;
  }
  return "dict_items";
}

bool Value::truthy() const {
  if (is_undefined() || is_none()) return false;
  if (is_integer()) return as_integer() != 0;
  if (is_float()) return as_double() != 0.0;
  if (is_string()) return !as_string().empty();
  if (is_sequence()) return !items().empty();
  if (is_dict()) return !as_dict().entries().empty();
  if (is_view()) return !as_view().dict->entries().empty();
  if (is_range()) return as_range().size() != 0;
  return true;
}

std::size_t Dict::find_index(const Value& key, std::size_t hash) const {
  if (entries_.size() <= kLinearEntries) {
    const auto at = std::find_if(entries_.begin(), entries_.end(),
                                 [&](const Entry& entry) { return equal(entry.first, key); });
    return static_cast<std::size_t>(at - entries_.begin());
  }
  const auto [begin, end] = index_.equal_range(hash);
  for (auto at = begin; at != end; ++at) {
    if (equal(entries_[at->second].first, key)) return at->second;
  }
  return entries_.size();
}

const Value* Dict::find(const Value& key) const {
  const std::size_t index = find_index(key, hash_value(key));
  return index < entries_.size() ? &entries_[index].second : nullptr;
}

const Value* Dict::find(std::string_view key) const {
  if (entries_.size() > kLinearEntries) return find(Value(std::string(key)));
  for (const Entry& entry : entries_) {
    if (entry.first.is_string() && entry.first.as_string() == key) return &entry.second;
  }
  return nullptr;
}

void Dict::set(Value key, Value value) {
  const std::size_t hash = hash_value(key);
  const std::size_t at = find_index(key, hash);
  weight_ = saturating_add(weight_, saturating_add(key.weight(), value.weight()));
  depth_ = std::max({depth_, 1 + key.depth(), 1 + value.depth()});
  if (at < entries_.size()) {
    entries_[at].second = std::move(value);
    return;
  }
  entries_.emplace_back(std::move(key), std::move(value));
  if (entries_.size() == kLinearEntries + 1) {
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      index_.emplace(hash_value(entries_[i].first), i);
    }
  } else if (entries_.size() > kLinearEntries) {
    index_.emplace(hash, entries_.size() - 1);
  }
}

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return equal_numbers(a, b);
  if (a.is_string() && b.is_string()) return a.as_string() == b.as_string();
  if ((a.is_list() && b.is_list()) || (a.is_tuple() && b.is_tuple())) {
    return std::equal(a.items().begin(), a.items().end(), b.items().begin(), b.items().end(),
                      equal);
  }
  if (a.is_dict() && b.is_dict()) return equal_dicts(a.as_dict(), b.as_dict());
  if (a.is_range() && b.is_range()) return equal_ranges(a.as_range(), b.as_range());
  if (a.is_object() && b.is_object()) return a.as_object() == b.as_object();
  if (a.is_view() && b.is_view()) return &a.as_view() == &b.as_view();
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

std::size_t hash_value(const Value& value) {
  if (value.is_string()) return std::hash<std::string>{}(value.as_string());
  if (value.is_number()) return hash_number(value);
  if (value.is_none() || value.is_undefined()) return value.is_none() ? 1 : 2;
  if (value.is_object()) return std::hash<Object*>{}(value.as_object());
  if (value.is_tuple()) {
    std::size_t hash = kHashSeed;
    for (const Value& item : value.items()) hash = combined_hash(hash, hash_value(item));
    return hash;
  }
  if (value.is_range()) return hash_range(value.as_range());
  throw TemplateError("unhashable type: '" + value.type_name() + "'");
}

}  // namespace lockstep::model::jinja
