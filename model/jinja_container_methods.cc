// Methods of dict, list, tuple and range.
#include <algorithm>
#include <array>
#include <span>
#include <string_view>

#include "model/jinja_access.h"

namespace lockstep::model::jinja {
namespace {

Value dict_view(const Value& self, const Arguments& arguments, DictPart part,
                std::string_view name) {
  bind(name, arguments, {});
  return Value::view({self.shared_dict(), part});
}

Value dict_keys(Runtime&, const Value& self, const Arguments& arguments) {
  return dict_view(self, arguments, DictPart::kKeys, "keys");
}

Value dict_values(Runtime&, const Value& self, const Arguments& arguments) {
  return dict_view(self, arguments, DictPart::kValues, "values");
}

Value dict_items(Runtime&, const Value& self, const Arguments& arguments) {
  return dict_view(self, arguments, DictPart::kItems, "items");
}

Value dict_get(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind("get", arguments, {"", ""}, 1);
  runtime.charge(bound[0]->weight());
  const Value* found = self.as_dict().find(*bound[0]);
  return found ? *found : bound[1] ? *bound[1] : Value(None{});
}

Value copy(Runtime&, const Value& self, const Arguments& arguments) {
  bind("copy", arguments, {});
  return self;
}

Value sequence_count(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind("count", arguments, {""}, 1);
  runtime.charge(self.weight());
  const Items items = iterate(runtime, self);
  return static_cast<std::int64_t>(std::count_if(
      items.begin(), items.end(), [&](const Value& item) { return equal(item, *bound[0]); }));
}

Value sequence_index(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind("index", arguments, {"", "", ""}, 1);
  runtime.charge(self.weight());
  const Items items = iterate(runtime, self);
  const auto size = static_cast<std::int64_t>(items.size());
  const auto limit = [&](const Value* value, std::int64_t missing) {
    if (!value) return missing;
    const std::int64_t at = require_integer(*value, "index()'s range");
    return std::clamp<std::int64_t>(at < 0 ? std::max<std::int64_t>(at, -size) + size : at, 0,
                                    size);
  };
  for (std::int64_t i = limit(bound[1], 0); i < limit(bound[2], size); ++i) {
    if (equal(items[static_cast<std::size_t>(i)], *bound[0])) return i;
  }
  throw TemplateError("index(): the value is not in the " + self.type_name());
}

struct Method {
  std::string_view name;
  Function function;
};

constexpr std::array<Method, 5> kDictMethods = {{{"keys", dict_keys},
                                                 {"values", dict_values},
                                                 {"items", dict_items},
                                                 {"get", dict_get},
                                                 {"copy", copy}}};
constexpr std::array<Method, 3> kListMethods = {
    {{"count", sequence_count}, {"index", sequence_index}, {"copy", copy}}};
constexpr std::array<Method, 2> kTupleMethods = {
    {{"count", sequence_count}, {"index", sequence_index}}};

Function find_in(std::span<const Method> methods, std::string_view name) {
  const auto at = std::find_if(methods.begin(), methods.end(),
                               [&](const Method& method) { return method.name == name; });
  return at == methods.end() ? nullptr : at->function;
}

}  // namespace

Function find_container_method(const Value& value, std::string_view name) {
  if (value.is_dict()) return find_in(kDictMethods, name);
  if (value.is_list()) return find_in(kListMethods, name);
  if (value.is_tuple() || value.is_range()) return find_in(kTupleMethods, name);
  return nullptr;
}

}  // namespace lockstep::model::jinja
