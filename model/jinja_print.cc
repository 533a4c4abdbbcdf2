#include "model/jinja_print.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "model/jinja_limits.h"
#include "model/jinja_text.h"

namespace lockstep::model::jinja {
namespace {

// Python writes an exponent outside of 1e-4 <= |value| < 1e16.
constexpr int kMinFixedExponent = -4;
constexpr int kMaxFixedExponent = 16;

std::string format_code_point(const char* format, char32_t code_point) {
  std::array<char, 16> buffer;
  std::snprintf(buffer.data(), buffer.size(), format, static_cast<unsigned>(code_point));
  return buffer.data();
}

void append_escaped(char32_t c, char quote, std::string& out) {
  if (c == static_cast<char32_t>(quote) || c == U'\\') {
    out += '\\';
    append_code_point(c, out);
  } else if (c == U'\n') {
    out += "\\n";
  } else if (c == U'\r') {
    out += "\\r";
  } else if (c == U'\t') {
    out += "\\t";
  } else if (is_printable(c)) {
    append_code_point(c, out);
  } else {
    out += format_code_point(c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
  }
}

// Writes repr() of nested values into one string, which is checked as it grows.
class ReprWriter {
 public:
  explicit ReprWriter(Runtime& runtime) : runtime_(runtime) {}

  std::string write(const Value& value) {
    append(value);
    return std::move(out_);
  }

 private:
  void append(const Value& value) {
    Runtime::check_text_bytes(out_.size());
    runtime_.charge(1);
    if (value.is_string()) {
      runtime_.charge_text(value.as_string());
      out_ += string_repr(value.as_string());
    } else if (value.is_undefined()) {
      out_ += "Undefined";
    } else if (value.is_list()) {
      append_items(value.items(), "[", "]");
    } else if (value.is_tuple()) {
      append_items(value.items(), "(", value.items().size() == 1 ? ",)" : ")");
    } else if (value.is_dict()) {
      append_dict(value.as_dict());
    } else if (value.is_view()) {
      out_ += value.type_name() + "(";
      append_items(iterate(runtime_, value), "[", "]");
      out_ += ")";
    } else {
      append_scalar(value);
    }
  }

  void append_scalar(const Value& value) {
    if (value.is_none()) {
      out_ += "None";
    } else if (value.is_bool()) {
      out_ += value.truthy() ? "True" : "False";
    } else if (value.is_integer()) {
      out_ += std::to_string(value.as_integer());
    } else if (value.is_large()) {
      out_ += std::to_string(value.as_large());
    } else if (value.is_float()) {
      out_ += float_repr(value.as_double());
    } else if (value.is_range()) {
      const Range& range = value.as_range();
      out_ += "range(" + std::to_string(range.start) + ", " + std::to_string(range.stop);
      out_ += range.step == 1 ? ")" : ", " + std::to_string(range.step) + ")";
    } else {
      out_ += value.as_object()->representation(runtime_);
    }
  }

  void append_items(const Items& items, std::string_view open, std::string_view close) {
    out_ += open;
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += ", ";
      append(items[i]);
    }
    out_ += close;
  }

  void append_dict(const Dict& dict) {
    out_ += "{";
    for (const auto& [key, value] : dict.entries()) {
      if (&key != &dict.entries().front().first) out_ += ", ";
      append(key);
      out_ += ": ";
      append(value);
    }
    out_ += "}";
  }

  Runtime& runtime_;
  std::string out_;
};

}  // namespace

std::string float_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 40> buffer;
  const auto scientific = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                        std::chars_format::scientific);
  std::string text(buffer.data(), scientific.ptr);
  const int exponent = std::stoi(text.substr(text.find('e') + 1));
  if (exponent < kMinFixedExponent || exponent >= kMaxFixedExponent) return text;
  const auto fixed =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::fixed);
  text.assign(buffer.data(), fixed.ptr);
  return text.find('.') == std::string::npos ? text + ".0" : text;
}

std::string string_repr(std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const bool has_double = text.find('"') != std::string_view::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  std::string out(1, quote);
  for (std::size_t offset = 0; offset < text.size();) {
    append_escaped(next_code_point(text, offset), quote, out);
  }
  return out + quote;
}

std::string to_text(Runtime& runtime, const Value& value) {
  if (value.is_string()) {
    runtime.charge_text(value.as_string());
    return value.as_string();
  }
  if (value.is_undefined()) return "";
  return to_repr(runtime, value);
}

std::string to_repr(Runtime& runtime, const Value& value) {
  return ReprWriter(runtime).write(value);
}

}  // namespace lockstep::model::jinja
