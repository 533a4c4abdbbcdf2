#include "model/jinja_operators.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "model/jinja_format.h"
#include "model/jinja_limits.h"
#include "model/jinja_text.h"

namespace lockstep::model::jinja {
namespace {

[[noreturn]] void fail_operands(std::string_view op, const Value& a, const Value& b) {
  if (a.is_undefined()) fail_undefined(a);
  if (b.is_undefined()) fail_undefined(b);
  throw TemplateError("unsupported operand types for " + std::string(op) + ": '" + a.type_name() +
                      "' and '" + b.type_name() + "'");
}

[[noreturn]] void fail_overflow() { throw TemplateError("an integer exceeds 64 bits signed"); }

std::int64_t floor_divide(std::int64_t a, std::int64_t b) {
  if (b == -1) {
    std::int64_t negated;
    if (__builtin_sub_overflow(std::int64_t{0}, a, &negated)) fail_overflow();
    return negated;
  }
  const std::int64_t quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

double float_modulo(double a, double b) {
  const double remainder = std::fmod(a, b);
  if (remainder == 0.0) return std::copysign(0.0, b);
  return (remainder < 0) != (b < 0) ? remainder + b : remainder;
}

Value integer_power(std::int64_t base, std::int64_t exponent) {
  std::int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) && __builtin_mul_overflow(result, base, &result)) fail_overflow();
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) fail_overflow();
  }
  return result;
}

Value power(const Value& a, const Value& b) {
  if (a.is_integer() && b.is_integer() && b.as_integer() >= 0) {
    return integer_power(a.as_integer(), b.as_integer());
  }
  const double base = a.as_double();
  const double exponent = b.as_double();
  if (base == 0.0 && exponent < 0) throw TemplateError("zero cannot be raised to a negative power");
  if (base < 0 && std::trunc(exponent) != exponent && std::isfinite(exponent)) {
    throw TemplateError("complex numbers are not supported");
  }
  const double result = std::pow(base, exponent);
  if (std::isinf(result) && std::isfinite(base) && std::isfinite(exponent)) {
    throw TemplateError("a number is too large");
  }
  return result;
}

Value integer_arithmetic(BinaryOp op, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  bool overflow = false;
  switch (op) {
    case BinaryOp::kAdd: overflow = __builtin_add_overflow(a, b, &result); break;
    case BinaryOp::kSubtract: overflow = __builtin_sub_overflow(a, b, &result); break;
    case BinaryOp::kMultiply: overflow = __builtin_mul_overflow(a, b, &result); break;
    case BinaryOp::kFloorDivide: result = floor_divide(a, b); break;
    case BinaryOp::kModulo: {
      const std::int64_t remainder = b == -1 ? 0 : a % b;
      result = remainder != 0 && (remainder < 0) != (b < 0) ? remainder + b : remainder;
      break;
    }
    case BinaryOp::kDivide: return static_cast<double>(a) / static_cast<double>(b);
    case BinaryOp::kPower: break;  // power() took it
  }
  if (overflow) fail_overflow();
  return result;
}

Value arithmetic(BinaryOp op, const Value& a, const Value& b) {
  if (a.is_large() || b.is_large()) fail_overflow();
  if (op == BinaryOp::kPower) return power(a, b);
  const bool divides =
      op == BinaryOp::kDivide || op == BinaryOp::kFloorDivide || op == BinaryOp::kModulo;
  if (divides && b.as_double() == 0.0) throw TemplateError("division by zero");
  if (a.is_integer() && b.is_integer()) {
    return integer_arithmetic(op, a.as_integer(), b.as_integer());
  }
  const double x = a.as_double();
  const double y = b.as_double();
  switch (op) {
    case BinaryOp::kAdd: return x + y;
    case BinaryOp::kSubtract: return x - y;
    case BinaryOp::kMultiply: return x * y;
    case BinaryOp::kDivide: return x / y;
    case BinaryOp::kFloorDivide: return std::floor((x - float_modulo(x, y)) / y + 0.5);
    default: return float_modulo(x, y);
  }
}

Value repeat(Runtime& runtime, const Value& value, std::int64_t times) {
  const auto count = static_cast<std::size_t>(std::max<std::int64_t>(times, 0));
  if (value.is_string()) {
    const std::string& text = value.as_string();
    if (text.empty() || count == 0) return std::string();
    Runtime::check_text_bytes(count > kMaxOutputBytes ? count : count * text.size());
    std::string out;
    out.reserve(count * text.size());
    for (std::size_t i = 0; i < count; ++i) out += text;
    return runtime.text(std::move(out));
  }
  Items out;
  if (!value.items().empty()) {
    runtime.charge(count);  // first, so that the product cannot overflow
    runtime.charge(count * value.items().size());
    for (std::size_t i = 0; i < count; ++i) {
      out.insert(out.end(), value.items().begin(), value.items().end());
    }
  }
  return value.is_list() ? runtime.list(std::move(out)) : runtime.tuple(std::move(out));
}

Value concatenate(Runtime& runtime, const Value& a, const Value& b) {
  if (a.is_string()) {
    Runtime::check_text_bytes(a.as_string().size() + b.as_string().size());
    return runtime.text(a.as_string() + b.as_string());
  }
  runtime.charge(a.items().size() + b.items().size());
  Items items = a.items();
  items.insert(items.end(), b.items().begin(), b.items().end());
  return a.is_list() ? runtime.list(std::move(items)) : runtime.tuple(std::move(items));
}

bool less_sequences(const Value& a, const Value& b, bool or_equal) {
  const Items& x = a.items();
  const Items& y = b.items();
  for (std::size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
    if (!equal(x[i], y[i])) return compare(x[i], CompareOp::kLess, y[i]);
  }
  return or_equal ? x.size() <= y.size() : x.size() < y.size();
}

// a < b, or a <= b.
bool less(const Value& a, const Value& b, bool or_equal, std::string_view op) {
  if (a.is_integer() && b.is_integer()) {
    return or_equal ? a.as_integer() <= b.as_integer() : a.as_integer() < b.as_integer();
  }
  if (a.is_number() && b.is_number()) {
    return or_equal ? a.as_double() <= b.as_double() : a.as_double() < b.as_double();
  }
  if (a.is_string() && b.is_string()) {  // the order of UTF-8 bytes is that of code points
    const int order = a.as_string().compare(b.as_string());
    return or_equal ? order <= 0 : order < 0;
  }
  if ((a.is_list() && b.is_list()) || (a.is_tuple() && b.is_tuple())) {
    return less_sequences(a, b, or_equal);
  }
  fail_operands(op, a, b);
}

std::int64_t slice_bound(const Value& value, std::int64_t size, std::int64_t missing,
                         bool forward) {
  if (value.is_none()) return missing;
  std::int64_t index = require_integer(value, "a slice index");
  if (index < 0) index = index < -size ? -1 : index + size;
  return forward ? std::clamp<std::int64_t>(index, 0, size)
                 : std::clamp<std::int64_t>(index, -1, size - 1);
}

// The positions that a slice takes of a sequence of `size`: slice.indices() of Python.
Range slice_range(std::int64_t size, const Value& start, const Value& stop, const Value& step) {
  std::int64_t stride = step.is_none() ? 1 : require_integer(step, "a slice step");
  if (stride == 0) throw TemplateError("slice step cannot be zero");
  stride = std::clamp<std::int64_t>(stride, -size - 1, size + 1);
  const bool forward = stride > 0;
  return {slice_bound(start, size, forward ? 0 : size - 1, forward),
          slice_bound(stop, size, forward ? size : -1, forward), stride};
}

Value slice_text(Runtime& runtime, const std::string& text, const Range& range) {
  if (range.size() == 0) return std::string();
  if (range.step == 1) {
    const std::size_t begin = byte_offset(text, range.start);
    const std::string_view rest = std::string_view(text).substr(begin);
    return runtime.text(std::string(rest.substr(0, byte_offset(rest, range.size()))));
  }
  runtime.charge(static_cast<std::size_t>(text_length(text)));
  const auto parts = split_code_points(text);
  std::string out;
  for (std::int64_t i = 0; i < range.size(); ++i) {
    out += parts[static_cast<std::size_t>(range.at(i))];
  }
  return runtime.text(std::move(out));
}

std::optional<std::int64_t> position(const Value& index, std::int64_t size) {
  if (!index.is_integer()) return std::nullopt;
  const std::int64_t at = index.as_integer() < 0 ? index.as_integer() + size : index.as_integer();
  return at < 0 || at >= size ? std::nullopt : std::optional(at);
}

bool hashable(const Value& value) {
  if (value.is_tuple()) {
    return std::all_of(value.items().begin(), value.items().end(), hashable);
  }
  return !value.is_list() && !value.is_dict() && !value.is_view();
}

}  // namespace

std::string_view symbol(BinaryOp op) {
  constexpr std::array<std::string_view, 7> kSymbols = {"+", "-", "*", "/", "//", "%", "**"};
  return kSymbols[static_cast<std::size_t>(op)];
}

std::string_view symbol(CompareOp op) {
  constexpr std::array<std::string_view, 8> kSymbols = {
      "==", "!=", "<", "<=", ">", ">=", "in", "not in"};
  return kSymbols[static_cast<std::size_t>(op)];
}

Value apply(Runtime& runtime, BinaryOp op, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return arithmetic(op, a, b);
  if (op == BinaryOp::kModulo && a.is_string()) {
    return runtime.text(b.is_tuple() ? percent_format(runtime, a.as_string(), b.items(), nullptr)
                                     : percent_format(runtime, a.as_string(), {b}, &b));
  }
  if (op == BinaryOp::kAdd && ((a.is_string() && b.is_string()) || (a.is_list() && b.is_list()) ||
                               (a.is_tuple() && b.is_tuple()))) {
    return concatenate(runtime, a, b);
  }
  if (op == BinaryOp::kMultiply) {
    if ((a.is_string() || a.is_sequence()) && b.is_integer()) {
      return repeat(runtime, a, b.as_integer());
    }
    if ((b.is_string() || b.is_sequence()) && a.is_integer()) {
      return repeat(runtime, b, a.as_integer());
    }
  }
  fail_operands(symbol(op), a, b);
}

Value negate(const Value& value) {
  if (value.is_integer()) return integer_arithmetic(BinaryOp::kSubtract, 0, value.as_integer());
  if (value.is_large()) fail_overflow();
  if (value.is_float()) return -value.as_double();
  if (value.is_undefined()) fail_undefined(value);
  throw TemplateError("bad operand type for unary -: '" + value.type_name() + "'");
}

Value plus(const Value& value) {
  if (value.is_integer()) return value.as_integer();
  if (value.is_float() || value.is_large()) return value;
  if (value.is_undefined()) fail_undefined(value);
  throw TemplateError("bad operand type for unary +: '" + value.type_name() + "'");
}

bool compare(const Value& a, CompareOp op, const Value& b) {
  switch (op) {
    case CompareOp::kEqual: return equal(a, b);
    case CompareOp::kNotEqual: return !equal(a, b);
    case CompareOp::kLess: return less(a, b, false, "<");
    case CompareOp::kLessEqual: return less(a, b, true, "<=");
    case CompareOp::kGreater: return less(b, a, false, ">");
    default: return less(b, a, true, ">=");
  }
}

bool contains(Runtime& runtime, const Value& haystack, const Value& needle) {
  if (haystack.is_string()) {
    const std::string& text = require_string(needle, "what is searched for in a string");
    runtime.charge(haystack.weight() * (1 + text.size() / kBytesPerStep));
    return haystack.as_string().find(text) != std::string::npos;
  }
  if (haystack.is_dict()) {
    runtime.charge(needle.weight());
    return haystack.as_dict().find(needle) != nullptr;
  }
  if (haystack.is_view() && haystack.as_view().part == DictPart::kKeys) {
    runtime.charge(needle.weight());
    return haystack.as_view().dict->find(needle) != nullptr;
  }
  if (auto* generator =
          haystack.is_object() ? dynamic_cast<Generator*>(haystack.as_object()) : nullptr) {
    return generator->take_until(runtime, needle);
  }
  runtime.charge(haystack.weight());
  const Items items = iterate(runtime, haystack);
  return std::any_of(items.begin(), items.end(),
                     [&](const Value& item) { return equal(item, needle); });
}

Value slice(Runtime& runtime, const Value& value, const Value& start, const Value& stop,
            const Value& step) {
  if (value.is_undefined()) fail_undefined(value);
  if (!value.is_string() && !value.is_sequence() && !value.is_range()) {
    throw TemplateError("'" + value.type_name() + "' object cannot be sliced");
  }
  if (value.is_string()) runtime.charge_text(value.as_string());
  const Range range = slice_range(length_of(value), start, stop, step);
  if (value.is_string()) return slice_text(runtime, value.as_string(), range);
  if (value.is_range()) {
    const Range& of = value.as_range();
    return Value::range({of.at(range.start), of.at(range.stop), of.step * range.step});
  }
  Items items;
  for (std::int64_t i = 0; i < range.size(); ++i) {
    items.push_back(value.items()[static_cast<std::size_t>(range.at(i))]);
  }
  return value.is_list() ? runtime.list(std::move(items)) : runtime.tuple(std::move(items));
}

std::optional<Value> subscript(Runtime& runtime, const Value& value, const Value& index) {
  if (value.is_dict()) {
    runtime.charge(index.weight());
    if (!hashable(index)) return std::nullopt;
    const Value* found = value.as_dict().find(index);
    return found ? std::optional(*found) : std::nullopt;
  }
  if (!value.is_string() && !value.is_sequence() && !value.is_range()) return std::nullopt;
  if (value.is_string()) runtime.charge_text(value.as_string());
  const auto at = position(index, length_of(value));
  if (!at) return std::nullopt;
  if (value.is_sequence()) return value.items()[static_cast<std::size_t>(*at)];
  if (value.is_range()) return Value(value.as_range().at(*at));
  const std::string& text = value.as_string();
  const std::size_t begin = byte_offset(text, *at);
  return Value(text.substr(begin, sequence_bytes(text[begin])));
}

}  // namespace lockstep::model::jinja
