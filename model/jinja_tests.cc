// The tests of the template language: `value is name`.
#include <algorithm>
#include <array>

#include "model/jinja_filters.h"
#include "model/jinja_operators.h"
#include "model/jinja_print.h"
#include "model/jinja_text.h"

namespace lockstep::model::jinja {
namespace {

// A test without arguments.
template <bool (*property)(const Value&)>
Value plain(Runtime&, const Value& self, const Arguments& arguments) {
  bind("a test", arguments, {});
  return property(self);
}

bool is_defined(const Value& v) { return !v.is_undefined(); }
bool is_undefined(const Value& v) { return v.is_undefined(); }
bool is_none(const Value& v) { return v.is_none(); }
bool is_boolean(const Value& v) { return v.is_bool(); }
bool is_true(const Value& v) { return v.is_bool() && v.truthy(); }
bool is_false(const Value& v) { return v.is_bool() && !v.truthy(); }
bool is_integer(const Value& v) { return (v.is_integer() && !v.is_bool()) || v.is_large(); }
bool is_float(const Value& v) { return v.is_float(); }
bool is_number(const Value& v) { return v.is_number(); }
bool is_string(const Value& v) { return v.is_string(); }
bool is_mapping(const Value& v) { return v.is_dict(); }
bool is_callable(const Value& v) {
  return v.is_undefined() || (v.is_object() && v.as_object()->callable());
}
// Undefined has a length and can be iterated over.
bool is_sequence(const Value& v) {
  return v.is_undefined() || v.is_string() || v.is_sequence() || v.is_dict() || v.is_range();
}
bool is_iterable(const Value& v) {
  return is_sequence(v) || v.is_view() ||
         (v.is_object() && dynamic_cast<const Generator*>(v.as_object()));
}

// lower and upper: some letter has case, and none has the other one.
template <bool (*wanted)(char32_t), bool (*other)(char32_t)>
Value has_case(Runtime& runtime, const Value& self, const Arguments& arguments) {
  bind("a case test", arguments, {});
  const std::string text = to_text(runtime, self);
  bool found = false;
  for (std::size_t offset = 0; offset < text.size();) {
    const char32_t c = next_code_point(text, offset);
    if (other(c)) return false;
    found = found || wanted(c);
  }
  return found;
}

template <CompareOp op>
Value compared(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind("a comparison test", arguments, {""}, 1);
  runtime.charge(std::min(self.weight(), bound[0]->weight()));
  return compare(self, op, *bound[0]);
}

Value is_in(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind("in", arguments, {"seq"}, 1);
  return contains(runtime, *bound[0], self);
}

Value same_as(Runtime&, const Value& self, const Arguments& arguments) {
  const auto bound = bind("sameas", arguments, {"other"}, 1);
  const Value& other = *bound[0];
  if (self.type_name() != other.type_name()) return false;
  if (self.is_sequence()) return &self.sequence() == &other.sequence();
  if (self.is_dict()) return &self.as_dict() == &other.as_dict();
  return equal(self, other);
}

std::int64_t modulo(Runtime& runtime, const Value& self, const Value& divisor) {
  const Value rest = apply(runtime, BinaryOp::kModulo, self, divisor);
  if (!rest.is_number()) throw TemplateError("a number is needed, not '" + self.type_name() + "'");
  if (rest.is_integer()) return rest.as_integer();
  const double number = rest.as_double();
  return number == 0.0 ? 0 : number == 1.0 ? 1 : 2;
}

Value is_even(Runtime& runtime, const Value& self, const Arguments& arguments) {
  bind("even", arguments, {});
  return modulo(runtime, self, std::int64_t{2}) == 0;
}

Value is_odd(Runtime& runtime, const Value& self, const Arguments& arguments) {
  bind("odd", arguments, {});
  return modulo(runtime, self, std::int64_t{2}) == 1;
}

Value is_divisible(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind("divisibleby", arguments, {"num"}, 1);
  return modulo(runtime, self, *bound[0]) == 0;
}

Value is_filter(Runtime& runtime, const Value& self, const Arguments& arguments) {
  bind("filter", arguments, {});
  runtime.charge(self.weight());
  hash_value(self);  // a name is looked up in a dict
  return self.is_string() && find_filter(self.as_string()) != nullptr;
}

Value is_test(Runtime& runtime, const Value& self, const Arguments& arguments) {
  bind("test", arguments, {});
  runtime.charge(self.weight());
  hash_value(self);
  return self.is_string() && find_test(self.as_string()) != nullptr;
}

struct Test {
  std::string_view name;
  Function function;
};

constexpr std::array<Test, 38> kTests = {{
    {"!=", compared<CompareOp::kNotEqual>},
    {"<", compared<CompareOp::kLess>},
    {"<=", compared<CompareOp::kLessEqual>},
    {"==", compared<CompareOp::kEqual>},
    {">", compared<CompareOp::kGreater>},
    {">=", compared<CompareOp::kGreaterEqual>},
    {"boolean", plain<is_boolean>},
    {"callable", plain<is_callable>},
    {"defined", plain<is_defined>},
    {"divisibleby", is_divisible},
    {"eq", compared<CompareOp::kEqual>},
    {"equalto", compared<CompareOp::kEqual>},
    {"even", is_even},
    {"false", plain<is_false>},
    {"filter", is_filter},
    {"float", plain<is_float>},
    {"ge", compared<CompareOp::kGreaterEqual>},
    {"greaterthan", compared<CompareOp::kGreater>},
    {"gt", compared<CompareOp::kGreater>},
    {"in", is_in},
    {"integer", plain<is_integer>},
    {"iterable", plain<is_iterable>},
    {"le", compared<CompareOp::kLessEqual>},
    {"lessthan", compared<CompareOp::kLess>},
    {"lower", has_case<is_lower, is_upper>},
    {"lt", compared<CompareOp::kLess>},
    {"mapping", plain<is_mapping>},
    {"ne", compared<CompareOp::kNotEqual>},
    {"none", plain<is_none>},
    {"number", plain<is_number>},
    {"odd", is_odd},
    {"sameas", same_as},
    {"sequence", plain<is_sequence>},
    {"string", plain<is_string>},
    {"test", is_test},
    {"true", plain<is_true>},
    {"undefined", plain<is_undefined>},
    {"upper", has_case<is_upper, is_lower>},
}};

}  // namespace

Function find_test(std::string_view name) {
  const auto at = std::find_if(kTests.begin(), kTests.end(),
                               [&](const Test& test) { return test.name == name; });
  return at == kTests.end() ? nullptr : at->function;
}

}  // namespace lockstep::model::jinja
