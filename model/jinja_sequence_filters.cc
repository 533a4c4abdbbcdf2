// Filters on sequences and mappings.
#include <algorithm>
#include <array>
#include <charconv>

#include "model/jinja_access.h"
#include "model/jinja_filters.h"
#include "model/jinja_operators.h"
#include "model/jinja_print.h"
#include "model/jinja_text.h"

namespace lockstep::model::jinja {
namespace {

// "a.b.0" of an `attribute` argument: names and integers.
Items attribute_path(Runtime& runtime, const Value* attribute) {
  if (!attribute || attribute->is_none()) return {};
  if (!attribute->is_string()) return {*attribute};
  Items parts;
  std::string_view rest = attribute->as_string();
  for (;;) {
    const std::size_t dot = rest.find('.');
    const std::string_view part = rest.substr(0, dot);
    std::int64_t index = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool digits = !part.empty() && part.front() != '-' && error == std::errc() &&
                        end == part.data() + part.size();
    parts.push_back(digits ? Value(index) : Value(std::string(part)));
    runtime.charge(1);
    if (dot == std::string_view::npos) return parts;
    rest.remove_prefix(dot + 1);
  }
}

Value follow(Runtime& runtime, Value item, const Items& path, const Value* fallback = nullptr) {
  for (const Value& part : path) {
    item = get_item(runtime, item, part);
    if (fallback && !fallback->is_none() && item.is_undefined()) item = *fallback;
  }
  return item;
}

Value ignore_case(Runtime& runtime, const Value& value) {
  return value.is_string() ? runtime.text(to_lower(value.as_string())) : value;
}

bool is_set(const Value* flag) { return flag && flag->truthy(); }

Value length(Runtime& runtime, const Value& self, const Arguments& arguments) {
  bind("length", arguments, {});
  if (self.is_string()) runtime.charge(self.weight());
  return length_of(self);
}

Value join(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind("join", arguments, {"d", "attribute"});
  const std::string separator = bound[0] ? to_text(runtime, *bound[0]) : "";
  const Items path = attribute_path(runtime, bound[1]);
  std::string out;
  bool first = true;
  for (const Value& item : iterate(runtime, self)) {
    if (!first) out += separator;
    out += to_text(runtime, follow(runtime, item, path));
    Runtime::check_text_bytes(out.size());
    first = false;
  }
  return runtime.text(std::move(out));
}

Value first(Runtime& runtime, const Value& self, const Arguments& arguments) {
  bind("first", arguments, {});
  if (auto* generator = self.is_object() ? dynamic_cast<Generator*>(self.as_object()) : nullptr) {
    if (std::optional<Value> item = generator->take_one()) return *item;
    return Value::undefined("No first item, sequence was empty.");
  }
  const Items items = iterate(runtime, self);
  return items.empty() ? Value::undefined("No first item, sequence was empty.") : items.front();
}

Value last(Runtime& runtime, const Value& self, const Arguments& arguments) {
  bind("last", arguments, {});
  if (self.is_object()) throw TemplateError("'" + self.type_name() + "' object is not reversible");
  const Items items = iterate(runtime, self);
  return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

Value to_list(Runtime& runtime, const Value& self, const Arguments& arguments) {
  bind("list", arguments, {});
  return runtime.list(iterate(runtime, self));
}

Value reverse(Runtime& runtime, const Value& self, const Arguments& arguments) {
  bind("reverse", arguments, {});
  if (self.is_string()) {
    return slice(runtime, self, None{}, None{}, Value(std::int64_t{-1}));
  }
  Items items = iterate(runtime, self);
  std::reverse(items.begin(), items.end());
  return runtime.generator(std::move(items));
}

// `items` in the order of `keys`, which are compared with Python's <.
Items sort_by(Runtime& runtime, const Items& items, const Items& keys, bool descending) {
  std::vector<std::size_t> order(items.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    runtime.charge(std::min(keys[a].weight(), keys[b].weight()));
    return descending ? compare(keys[b], CompareOp::kLess, keys[a])
                      : compare(keys[a], CompareOp::kLess, keys[b]);
  });
  Items sorted;
  for (const std::size_t at : order) sorted.push_back(items[at]);
  return sorted;
}

Value sort(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind("sort", arguments, {"reverse", "case_sensitive", "attribute"});
  const Items items = iterate(runtime, self);
  std::vector<Items> paths;
  if (bound[2] && bound[2]->is_string()) {
    std::string_view rest = bound[2]->as_string();
    for (std::size_t comma; (comma = rest.find(',')) != std::string_view::npos;) {
      const Value part(std::string(rest.substr(0, comma)));
      paths.push_back(attribute_path(runtime, &part));
      rest.remove_prefix(comma + 1);
    }
    const Value part{std::string(rest)};
    paths.push_back(attribute_path(runtime, &part));
  } else {
    paths.push_back(attribute_path(runtime, bound[2]));
  }
  Items keys;
  for (const Value& item : items) {
    Items key;
    for (const Items& path : paths) {
      const Value part = follow(runtime, item, path);
      key.push_back(is_set(bound[1]) ? part : ignore_case(runtime, part));
    }
    keys.push_back(runtime.list(std::move(key)));
  }
  return runtime.list(sort_by(runtime, items, keys, is_set(bound[0])));
}

Value dict_sort(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind("dictsort", arguments, {"case_sensitive", "by", "reverse"});
  const std::string by = bound[1] ? require_string(*bound[1], "dictsort's by") : "key";
  if (by != "key" && by != "value") {
    throw TemplateError("You can only sort by either \"key\" or \"value\"");
  }
  if (self.is_undefined()) fail_undefined(self);
  if (!self.is_dict()) throw TemplateError("dictsort needs a mapping");
  Items pairs;
  Items keys;
  for (const auto& [key, value] : self.as_dict().entries()) {
    pairs.push_back(runtime.tuple({key, value}));
    const Value& part = by == "key" ? key : value;
    keys.push_back(is_set(bound[0]) ? part : ignore_case(runtime, part));
  }
  return runtime.list(sort_by(runtime, pairs, keys, is_set(bound[2])));
}

Value unique(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind("unique", arguments, {"case_sensitive", "attribute"});
  const Items path = attribute_path(runtime, bound[1]);
  Dict seen;
  Items kept;
  for (const Value& item : iterate(runtime, self)) {
    Value key = follow(runtime, item, path);
    if (!is_set(bound[0])) key = ignore_case(runtime, key);
    runtime.charge(key.weight());
    if (seen.find(key)) continue;
    seen.set(std::move(key), None{});
    kept.push_back(item);
  }
  return runtime.generator(std::move(kept));
}

Value extreme(Runtime& runtime, const Value& self, const Arguments& arguments, bool greatest) {
  const auto bound = bind("min or max", arguments, {"case_sensitive", "attribute"});
  const Items path = attribute_path(runtime, bound[1]);
  std::optional<Value> best;
  Value best_key;
  for (const Value& item : iterate(runtime, self)) {
    Value key = follow(runtime, item, path);
    if (!is_set(bound[0])) key = ignore_case(runtime, key);
    runtime.charge(key.weight());
    if (best && !compare(greatest ? best_key : key, CompareOp::kLess, greatest ? key : best_key)) {
      continue;
    }
    best = item;
    best_key = std::move(key);
  }
  return best ? *best : Value::undefined("No aggregated item, sequence was empty.");
}

Value minimum(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return extreme(runtime, self, arguments, false);
}

Value maximum(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return extreme(runtime, self, arguments, true);
}

Value sum(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind("sum", arguments, {"attribute", "start"});
  const Items path = attribute_path(runtime, bound[0]);
  Value total = bound[1] ? *bound[1] : Value(std::int64_t{0});
  if (total.is_string()) throw TemplateError("sum() can't sum strings [use ''.join(seq) instead]");
  for (const Value& item : iterate(runtime, self)) {
    total = apply(runtime, BinaryOp::kAdd, total, follow(runtime, item, path));
  }
  return total;
}

Value batch(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind("batch", arguments, {"linecount", "fill_with"}, 1);
  const std::int64_t count = require_integer(*bound[0], "batch's linecount");
  Items rows;
  Items row;
  for (const Value& item : iterate(runtime, self)) {
    if (static_cast<std::int64_t>(row.size()) == count) {
      rows.push_back(runtime.list(std::exchange(row, {})));
    }
    row.push_back(item);
  }
  if (!row.empty()) {
    if (bound[1] && !bound[1]->is_none() && static_cast<std::int64_t>(row.size()) < count) {
      runtime.charge(static_cast<std::size_t>(count));
      row.resize(static_cast<std::size_t>(count), *bound[1]);
    }
    rows.push_back(runtime.list(std::move(row)));
  }
  return runtime.generator(std::move(rows));
}

Value items(Runtime& runtime, const Value& self, const Arguments& arguments) {
  bind("items", arguments, {});
  if (self.is_undefined()) return runtime.generator({});
  if (!self.is_dict()) throw TemplateError("Can only get item pairs from a mapping.");
  return runtime.generator(iterate(runtime, Value::view({self.shared_dict(), DictPart::kItems})));
}

Value attribute(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind("attr", arguments, {"name"}, 1);
  const std::string& name = require_string(*bound[0], "attr's name");
  if (self.is_undefined()) fail_undefined(self);
  // Unlike value.name, never an item.
  return self.is_dict() && !find_method(self, name)
             ? Value::undefined("'dict' object has no attribute '" + name + "'")
             : get_attribute(runtime, self, name);
}

// The arguments after the first `count` positional ones.
Arguments rest_of(const Arguments& arguments, std::size_t count) {
  Arguments rest = arguments;
  rest.positional.erase(rest.positional.begin(),
                        rest.positional.begin() + static_cast<std::ptrdiff_t>(count));
  return rest;
}

Value map_attribute(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind("map", arguments, {"attribute", "default"}, 1);
  const Items path = attribute_path(runtime, bound[0]);
  Items mapped;
  for (const Value& item : iterate(runtime, self)) {
    mapped.push_back(follow(runtime, item, path, bound[1]));
  }
  return runtime.generator(std::move(mapped));
}

Value map(Runtime& runtime, const Value& self, const Arguments& arguments) {
  if (!self.truthy()) return runtime.generator({});
  if (arguments.positional.empty()) {
    const bool named = std::any_of(arguments.named.begin(), arguments.named.end(),
                                   [](const auto& item) { return item.first == "attribute"; });
    if (!named) throw TemplateError("map requires a filter argument");
    return map_attribute(runtime, self, arguments);
  }
  const std::string& name = require_string(arguments.positional[0], "map's filter");
  const Function filter = find_filter(name);
  const Arguments rest = rest_of(arguments, 1);
  Items mapped;
  for (const Value& item : iterate(runtime, self)) {
    if (!filter) throw TemplateError("No filter named '" + name + "'.");
    mapped.push_back(invoke(runtime, filter, item, rest));
  }
  return runtime.generator(std::move(mapped));
}

// select, reject, selectattr and rejectattr.
Value choose(Runtime& runtime, const Value& self, const Arguments& arguments, bool wanted,
             bool by_attribute) {
  if (!self.truthy()) return runtime.generator({});
  const std::size_t skipped = by_attribute ? 1 : 0;
  if (arguments.positional.size() < skipped) {
    throw TemplateError("Missing parameter for attribute name");
  }
  const Items path = by_attribute ? attribute_path(runtime, &arguments.positional[0]) : Items{};
  Function test = nullptr;
  std::string name;
  Arguments rest;
  if (arguments.positional.size() > skipped) {
    name = require_string(arguments.positional[skipped], "a test's name");
    test = find_test(name);
    rest = rest_of(arguments, skipped + 1);
  }
  Items kept;
  for (const Value& item : iterate(runtime, self)) {
    if (!test && !name.empty()) throw TemplateError("No test named '" + name + "'.");
    const Value subject = follow(runtime, item, path);
    const bool result = test ? invoke(runtime, test, subject, rest).truthy() : subject.truthy();
    if (result == wanted) kept.push_back(item);
  }
  return runtime.generator(std::move(kept));
}

Value select(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return choose(runtime, self, arguments, true, false);
}

Value reject(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return choose(runtime, self, arguments, false, false);
}

Value select_attribute(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return choose(runtime, self, arguments, true, true);
}

Value reject_attribute(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return choose(runtime, self, arguments, false, true);
}

struct Filter {
  std::string_view name;
  Function function;
};

constexpr std::array<Filter, 21> kFilters = {{
    {"attr", attribute},     {"batch", batch},   {"count", length},
    {"dictsort", dict_sort}, {"first", first},   {"items", items},
    {"join", join},          {"last", last},     {"length", length},
    {"list", to_list},       {"map", map},       {"max", maximum},
    {"min", minimum},        {"reject", reject}, {"rejectattr", reject_attribute},
    {"reverse", reverse},    {"select", select}, {"selectattr", select_attribute},
    {"sort", sort},          {"sum", sum},       {"unique", unique},
}};

}  // namespace

Function find_sequence_filter(std::string_view name) {
  const auto at = std::find_if(kFilters.begin(), kFilters.end(),
                               [&](const Filter& filter) { return filter.name == name; });
  return at == kFilters.end() ? nullptr : at->function;
}

}  // namespace lockstep::model::jinja
