#include "model/jinja_format.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "model/jinja_access.h"
#include "model/jinja_limits.h"
#include "model/jinja_print.h"
#include "model/jinja_text.h"

namespace lockstep::model::jinja {
namespace {

constexpr int kMaxPrecision = 1000;  // digits after the point that anyone can ask for

// What both mini-languages say of one field.
struct FieldStyle {
  std::string fill = " ";
  char align = 0;  // '<', '>', '^', '=' or 0: the type's own
  char sign = '-';
  bool alternate = false;
  bool grouped = false;  // ',' between thousands
  std::int64_t width = 0;
  int precision = -1;
  char type = 0;
};

std::string pad(const FieldStyle& style, std::string_view sign, const std::string& body,
                char default_align) {
  Runtime::check_text_bytes(static_cast<std::size_t>(style.width) * style.fill.size());
  const std::int64_t missing = style.width - text_length(body) - text_length(sign);
  std::string padding;
  for (std::int64_t i = 0; i < missing; ++i) padding += style.fill;
  const char align = style.align ? style.align : default_align;
  const std::string text = std::string(sign) + body;
  if (align == '<') return text + padding;
  if (align == '=') return std::string(sign) + padding + body;
  if (align == '>') return padding + text;
  const std::size_t left = padding.size() / style.fill.size() / 2 * style.fill.size();
  return padding.substr(0, left) + text + padding.substr(left);
}

std::string_view sign_text(bool negative, char style) {
  if (negative) return "-";
  return style == '+' ? "+" : style == ' ' ? " " : "";
}

std::string group_thousands(const std::string& digits) {
  const std::size_t whole = std::min(digits.find_first_of(".eE"), digits.size());
  std::string out;
  for (std::size_t i = 0; i < whole; ++i) {
    if (i > 0 && (whole - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out + digits.substr(whole);
}

std::string integer_digits(std::uint64_t magnitude, const FieldStyle& style) {
  const int base = style.type == 'b'                        ? 2
                   : style.type == 'o'                      ? 8
                   : style.type == 'x' || style.type == 'X' ? 16
                                                            : 10;
  std::array<char, 65> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), magnitude, base).ptr;
  std::string digits(buffer.data(), end);
  if (style.alternate && base != 10) digits = std::string("0") + style.type + digits;
  if (style.type == 'X') {
    for (char& c : digits) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return digits;
}

std::string format_integer(std::int64_t value, const FieldStyle& style) {
  const auto magnitude =
      value < 0 ? ~static_cast<std::uint64_t>(value) + 1 : static_cast<std::uint64_t>(value);
  std::string digits = integer_digits(magnitude, style);
  if (style.grouped) digits = group_thousands(digits);
  return pad(style, sign_text(value < 0, style.sign), digits, '>');
}

std::string float_digits(double magnitude, const FieldStyle& style) {
  if (style.type == 0 && style.precision < 0) return float_repr(magnitude);
  const char type = style.type == 0 ? 'g' : style.type == '%' ? 'f' : style.type;
  const std::string format = std::string(style.alternate ? "%#" : "%") + ".*" + type;
  const int precision = style.precision < 0 ? 6 : style.precision;
  const double shown = style.type == '%' ? magnitude * 100 : magnitude;
  const int size = std::snprintf(nullptr, 0, format.c_str(), precision, shown);
  std::string digits(static_cast<std::size_t>(size) + 1, '\0');
  std::snprintf(digits.data(), digits.size(), format.c_str(), precision, shown);
  digits.pop_back();
  return style.type == '%' ? digits + "%" : digits;
}

std::string format_float(double value, const FieldStyle& style) {
  std::string digits = float_digits(std::abs(value), style);
  if (style.grouped) digits = group_thousands(digits);
  return pad(style, sign_text(std::signbit(value) && !std::isnan(value), style.sign), digits, '>');
}

std::string format_text(std::string_view text, const FieldStyle& style) {
  if (style.precision >= 0) text = text.substr(0, byte_offset(text, style.precision));
  return pad(style, "", std::string(text), '<');
}

bool is_float_type(char type) {
  return std::string_view("eEfFgG%").find(type) != std::string::npos;
}

// Reads the digits at the start of `text` and drops them; nullopt when there are none.
std::optional<std::int64_t> take_number(std::string_view& text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (end == text.data() || text.front() == '-') return std::nullopt;
  if (error != std::errc()) throw TemplateError("a format's number is too large");
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return number;
}

bool take(std::string_view& text, char wanted) {
  if (text.empty() || text.front() != wanted) return false;
  text.remove_prefix(1);
  return true;
}

std::int64_t checked_width(std::int64_t width) {
  Runtime::check_text_bytes(static_cast<std::size_t>(width));
  return width;
}

int checked_precision(std::int64_t precision) {
  if (precision < 0 || precision > kMaxPrecision) {
    throw TemplateError("a format's precision exceeds " + std::to_string(kMaxPrecision));
  }
  return static_cast<int>(precision);
}

bool is_align(char c) { return c == '<' || c == '>' || c == '^' || c == '='; }

void take_alignment(std::string_view& spec, FieldStyle& style) {
  if (spec.empty()) return;
  const std::size_t fill_bytes = sequence_bytes(spec.front());
  if (spec.size() > fill_bytes && is_align(spec[fill_bytes])) {
    style.fill = spec.substr(0, fill_bytes);
    style.align = spec[fill_bytes];
    spec.remove_prefix(fill_bytes + 1);
  } else if (is_align(spec.front())) {
    style.align = spec.front();
    spec.remove_prefix(1);
  }
}

FieldStyle parse_spec(std::string_view spec) {
  FieldStyle style;
  take_alignment(spec, style);
  for (const char sign : {'+', '-', ' '}) {
    if (take(spec, sign)) {
      style.sign = sign;
      break;
    }
  }
  style.alternate = take(spec, '#');
  if (take(spec, '0') && !style.align) {
    style.fill = "0";
    style.align = '=';
  }
  style.width = checked_width(take_number(spec).value_or(0));
  style.grouped = take(spec, ',');
  if (take(spec, '.')) style.precision = checked_precision(take_number(spec).value_or(-1));
  if (!spec.empty()) {
    style.type = spec.front();
    spec.remove_prefix(1);
  }
  if (!spec.empty()) throw TemplateError("invalid format specifier");
  return style;
}

// The state of one "%" formatting.
class PercentFormatter {
 public:
  PercentFormatter(Runtime& runtime, std::string_view format, const Items& values,
                   const Value* mapping)
      : runtime_(runtime), rest_(format), values_(values), mapping_(mapping) {}

  std::string run() {
    while (!rest_.empty()) {
      const std::size_t at = std::min(rest_.find('%'), rest_.size());
      out_ += rest_.substr(0, at);
      rest_.remove_prefix(at);
      if (take(rest_, '%')) convert();
      Runtime::check_text_bytes(out_.size());
    }
    if (next_ < values_.size() && !used_mapping_ && !(mapping_ && mapping_->is_dict())) {
      throw TemplateError("not all arguments converted during string formatting");
    }
    return std::move(out_);
  }

 private:
  void convert() {
    const Value* keyed = take_key();
    FieldStyle style = take_flags();
    const bool zeros = style.fill == "0";
    style.width = take_width(style);
    if (take(rest_, '.')) style.precision = checked_precision(take_star_or_number());
    while (take(rest_, 'l') || take(rest_, 'h') || take(rest_, 'L')) {
    }
    if (rest_.empty()) throw TemplateError("incomplete format");
    style.type = rest_.front();
    rest_.remove_prefix(1);
    if (style.type == '%') {
      out_ += '%';
      return;
    }
    if (zeros && style.align != '<') style.align = '=';
    if (!style.align) style.align = '>';
    if (style.align == '<') style.fill = " ";
    convert_value(keyed ? *keyed : next_value(), style);
  }

  void convert_value(const Value& value, FieldStyle style) {
    switch (style.type) {
      case 's':
      case 'r':
      case 'a':
        style.fill = " ";
        if (style.align == '=') style.align = '>';
        out_ += format_text(style.type == 's' ? to_text(runtime_, value) : to_repr(runtime_, value),
                            style);
        return;
      case 'd':
      case 'i':
      case 'u':
      case 'x':
      case 'X':
      case 'o': out_ += format_integer(whole(value, style.type), style); return;
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        if (!value.is_number()) fail_type(value, style.type);
        out_ += format_float(value.as_double(), style);
        return;
      case 'c': out_ += format_text(character(value), style); return;
      default:
        throw TemplateError(std::string("unsupported format character '") + style.type + "'");
    }
  }

  [[noreturn]] static void fail_type(const Value& value, char type) {
    if (value.is_undefined()) fail_undefined(value);
    throw TemplateError(std::string("%") + type + " format: a number is required, not " +
                        value.type_name());
  }

  static std::int64_t whole(const Value& value, char type) {
    if (value.is_integer()) return value.as_integer();
    const bool decimal = type == 'd' || type == 'i' || type == 'u';
    if (!value.is_float() || !decimal || !(std::abs(value.as_double()) < 0x1p63)) {
      fail_type(value, type);
    }
    return static_cast<std::int64_t>(value.as_double());
  }

  static std::string character(const Value& value) {
    if (value.is_string() && text_length(value.as_string()) == 1) return value.as_string();
    const std::int64_t code = require_integer(value, "%c");
    if (code < 0 || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
      throw TemplateError("%c arg not in range(0x110000)");
    }
    std::string out;
    append_code_point(static_cast<char32_t>(code), out);
    return out;
  }

  const Value* take_key() {
    if (!take(rest_, '(')) return nullptr;
    const std::size_t close = rest_.find(')');
    if (close == std::string_view::npos) throw TemplateError("incomplete format key");
    const std::string_view key = rest_.substr(0, close);
    rest_.remove_prefix(close + 1);
    if (!mapping_ || !mapping_->is_dict()) throw TemplateError("format requires a mapping");
    const Value* found = mapping_->as_dict().find(key);
    if (!found) throw TemplateError("the mapping has no key '" + std::string(key) + "'");
    used_mapping_ = true;
    return found;
  }

  FieldStyle take_flags() {
    FieldStyle style;
    for (;;) {
      if (take(rest_, '-'))
        style.align = '<';
      else if (take(rest_, '+'))
        style.sign = '+';
      else if (take(rest_, ' '))
        style.sign = style.sign == '+' ? '+' : ' ';
      else if (take(rest_, '#'))
        style.alternate = true;
      else if (take(rest_, '0'))
        style.fill = "0";
      else
        return style;
    }
  }

  std::int64_t take_width(FieldStyle& style) {
    std::int64_t width = take_star_or_number();
    if (width < 0) {
      style.align = '<';
      width = -std::max(width, -static_cast<std::int64_t>(kMaxOutputBytes) - 1);
    }
    return checked_width(width);
  }

  std::int64_t take_star_or_number() {
    if (take(rest_, '*')) return require_integer(next_value(), "* of a format");
    return take_number(rest_).value_or(0);
  }

  const Value& next_value() {
    if (next_ == values_.size()) throw TemplateError("not enough arguments for format string");
    return values_[next_++];
  }

  Runtime& runtime_;
  std::string_view rest_;
  const Items& values_;
  const Value* mapping_;
  std::size_t next_ = 0;
  bool used_mapping_ = false;
  std::string out_;
};

// The state of one str.format().
class BraceFormatter {
 public:
  BraceFormatter(Runtime& runtime, const Arguments& arguments)
      : runtime_(runtime), arguments_(arguments) {}

  std::string run(std::string_view format, int depth) {
    if (depth > 2) throw TemplateError("Max string recursion exceeded");
    std::string out;
    while (!format.empty()) {
      const std::size_t at = std::min(format.find_first_of("{}"), format.size());
      out += format.substr(0, at);
      format.remove_prefix(at);
      if (format.empty()) break;
      const char brace = format.front();
      format.remove_prefix(1);
      if (take(format, brace)) {
        out += brace;
      } else if (brace == '}') {
        throw TemplateError("Single '}' encountered in format string");
      } else {
        out += field(take_field(format), depth);
      }
      Runtime::check_text_bytes(out.size());
    }
    return out;
  }

 private:
  // The text up to the brace that closes this field, which is dropped.
  static std::string_view take_field(std::string_view& format) {
    int open = 1;
    for (std::size_t i = 0; i < format.size(); ++i) {
      open += format[i] == '{' ? 1 : format[i] == '}' ? -1 : 0;
      if (open > 0) continue;
      const std::string_view body = format.substr(0, i);
      format.remove_prefix(i + 1);
      return body;
    }
    throw TemplateError("expected '}' before end of string");
  }

  std::string field(std::string_view body, int depth) {
    const std::size_t name_end = std::min(body.find_first_of("!:"), body.size());
    Value value = look_up(body.substr(0, name_end));
    body.remove_prefix(name_end);
    if (take(body, '!')) {
      if (body.empty() || (body.front() != 'r' && body.front() != 's')) {
        throw TemplateError("unknown conversion in format string");
      }
      value = Value(body.front() == 'r' ? to_repr(runtime_, value) : to_text(runtime_, value));
      body.remove_prefix(1);
    }
    const std::string spec = take(body, ':') ? run(body, depth + 1) : "";
    if (spec.empty() && !body.empty() && body.front() != ':') {
      if (body.find('{') == std::string_view::npos) {
        throw TemplateError("expected ':' after conversion specifier");
      }
    }
    return format_value(runtime_, value, spec);
  }

  Value look_up(std::string_view path) {
    const std::size_t end = std::min(path.find_first_of(".["), path.size());
    Value value = first(path.substr(0, end));
    path.remove_prefix(end);
    while (!path.empty()) {
      if (take(path, '.')) {
        const std::size_t stop = std::min(path.find_first_of(".["), path.size());
        value = get_attribute(runtime_, value, path.substr(0, stop));
        path.remove_prefix(stop);
      } else if (take(path, '[')) {
        const std::size_t stop = path.find(']');
        if (stop == std::string_view::npos) throw TemplateError("Missing ']' in format string");
        value = get_item(runtime_, value, index(path.substr(0, stop)));
        path.remove_prefix(stop + 1);
      } else {
        throw TemplateError("Only '.' or '[' may follow ']' in format field specifier");
      }
    }
    return value;
  }

  Value first(std::string_view name) {
    if (name.empty()) return positional(static_cast<std::int64_t>(next_++));
    const Value key = index(name);
    if (key.is_integer()) return positional(key.as_integer());
    for (const auto& [named, value] : arguments_.named) {
      if (named == name) return value;
    }
    throw TemplateError("format() has no argument '" + std::string(name) + "'");
  }

  Value positional(std::int64_t at) const {
    if (at >= static_cast<std::int64_t>(arguments_.positional.size())) {
      throw TemplateError("Replacement index " + std::to_string(at) + " out of range");
    }
    return arguments_.positional[static_cast<std::size_t>(at)];
  }

  static Value index(std::string_view text) {
    std::string_view rest = text;
    const auto number = take_number(rest);
    return number && rest.empty() ? Value(*number) : Value(std::string(text));
  }

  Runtime& runtime_;
  const Arguments& arguments_;
  std::size_t next_ = 0;
};

}  // namespace

std::string percent_format(Runtime& runtime, std::string_view format, const Items& values,
                           const Value* mapping) {
  return PercentFormatter(runtime, format, values, mapping).run();
}

std::string brace_format(Runtime& runtime, std::string_view format, const Arguments& arguments) {
  return BraceFormatter(runtime, arguments).run(format, 1);
}

std::string format_value(Runtime& runtime, const Value& value, std::string_view spec) {
  if (spec.empty()) return to_text(runtime, value);
  const FieldStyle style = parse_spec(spec);
  const bool integer_type = std::string_view("bdoxXn").find(style.type) != std::string::npos;
  if (value.is_integer() && (style.type == 0 || integer_type) &&
      !(value.is_bool() && style.type == 0)) {
    if (style.precision >= 0) throw TemplateError("Precision not allowed in integer format");
    return format_integer(value.as_integer(), style);
  }
  if (value.is_number() && (is_float_type(style.type) || (value.is_float() && style.type == 0))) {
    return format_float(value.as_double(), style);
  }
  if (value.is_string() && (style.type == 0 || style.type == 's') && style.align != '=') {
    return format_text(value.as_string(), style);
  }
  throw TemplateError("invalid format specifier '" + std::string(spec) + "' for '" +
                      value.type_name() + "'");
}

}  // namespace lockstep::model::jinja
