#include "model/jinja_access.h"

#include <algorithm>
#include <array>

#include "model/jinja_operators.h"
#include "model/jinja_print.h"
#include "model/jinja_text.h"

namespace lockstep::model::jinja {
namespace {

constexpr std::array<std::string_view, 8> kMutatingListMethods = {
    "append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"};
constexpr std::array<std::string_view, 5> kMutatingDictMethods = {"clear", "pop", "popitem",
                                                                  "setdefault", "update"};

bool is_mutating(const Value& value, std::string_view name) {
  const auto holds = [&](const auto& names) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  return (value.is_list() && holds(kMutatingListMethods)) ||
         (value.is_dict() && holds(kMutatingDictMethods));
}

// A method or an attribute of an object; nullopt when there is none of that name.
std::optional<Value> own_attribute(Runtime& runtime, const Value& value, std::string_view name) {
  if (value.is_object()) return value.as_object()->attribute(runtime, name);
  if (is_mutating(value, name)) {
    return Value::undefined("access to attribute '" + std::string(name) + "' of '" +
                            value.type_name() + "' object is unsafe.");
  }
  if (const Function method = find_method(value, name)) {
    return runtime.make<BoundFunction>(std::string(name), value, method);
  }
  return std::nullopt;
}

// A name as errors show it, cut where it is long.
std::string_view shown(std::string_view name) {
  constexpr std::int64_t kMost = 100;  // code points
  return name.substr(0, byte_offset(name, kMost));
}

Value missing(const Value& value, const std::string& what) {
  return Value::undefined("'" + value.type_name() + "' object has no " + what);
}

}  // namespace

Value get_attribute(Runtime& runtime, const Value& value, std::string_view name) {
  runtime.charge_text(name);
  if (value.is_undefined()) fail_undefined(value);
  if (std::optional<Value> attribute = own_attribute(runtime, value, name)) return *attribute;
  if (value.is_dict()) {
    if (const Value* found = value.as_dict().find(name)) return *found;
  }
  return missing(value, "attribute '" + std::string(shown(name)) + "'");
}

Value get_item(Runtime& runtime, const Value& value, const Value& index) {
  runtime.charge(1);
  if (value.is_undefined()) fail_undefined(value);
  if (std::optional<Value> item = subscript(runtime, value, index)) return *item;
  if (index.is_string()) {
    runtime.charge_text(index.as_string());
    if (std::optional<Value> attribute = own_attribute(runtime, value, index.as_string())) {
      return *attribute;
    }
    return missing(value, "attribute " + string_repr(shown(index.as_string())));
  }
  return missing(value, "element " + to_repr(runtime, index));
}

Function find_method(const Value& value, std::string_view name) {
  return value.is_string() ? find_string_method(name) : find_container_method(value, name);
}

}  // namespace lockstep::model::jinja
