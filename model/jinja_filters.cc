// Filters on text, numbers and single values.
#include "model/jinja_filters.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <span>

#include "model/jinja_access.h"
#include "model/jinja_format.h"
#include "model/jinja_limits.h"
#include "model/jinja_operators.h"
#include "model/jinja_print.h"
#include "model/jinja_text.h"

namespace lockstep::model::jinja {
namespace {

template <std::string (*mapping)(std::string_view)>
Value mapped(Runtime& runtime, const Value& self, const Arguments& arguments) {
  bind("a case filter", arguments, {});
  return runtime.text(mapping(to_text(runtime, self)));
}

// jinja2's own rule for words: they start after white space and after any of -([{<.
Value title(Runtime& runtime, const Value& self, const Arguments& arguments) {
  bind("title", arguments, {});
  const std::string text = to_text(runtime, self);
  std::string out;
  bool in_word = false;
  for (std::size_t start = 0; start < text.size();) {
    std::size_t end = start;
    const char32_t c = next_code_point(text, end);
    const std::string_view letter = std::string_view(text).substr(start, end - start);
    out += in_word ? to_lower(letter) : to_upper(letter);
    in_word = !is_space(c) && std::u32string_view(U"-([{<").find(c) == std::u32string_view::npos;
    start = end;
  }
  return runtime.text(std::move(out));
}

Value trim(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind("trim", arguments, {"chars"});
  const std::string text = to_text(runtime, self);
  if (!bound[0] || bound[0]->is_none()) {
    return runtime.text(std::string(strip_text(text, nullptr, true, true)));
  }
  const std::string_view characters = require_string(*bound[0], "trim's chars");
  runtime.charge((1 + text.size() / kBytesPerStep) * bound[0]->weight());
  return runtime.text(std::string(strip_text(text, &characters, true, true)));
}

Value replace(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind("replace", arguments, {"old", "new", "count"}, 2);
  Arguments inner{{Value(to_text(runtime, *bound[0])), Value(to_text(runtime, *bound[1]))}, {}};
  if (bound[2] && !bound[2]->is_none()) inner.positional.push_back(*bound[2]);
  return find_string_method("replace")(runtime, Value(to_text(runtime, self)), inner);
}

Value center(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind("center", arguments, {"width"});
  const Arguments inner{{bound[0] ? *bound[0] : Value(std::int64_t{80})}, {}};
  return find_string_method("center")(runtime, Value(to_text(runtime, self)), inner);
}

Value indent(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind("indent", arguments, {"width", "first", "blank"});
  const std::string text = require_string(self, "indent's input") + "\n";
  std::string margin(4, ' ');
  if (bound[0] && bound[0]->is_string()) {
    margin = bound[0]->as_string();
  } else if (bound[0]) {
    const auto width = std::max<std::int64_t>(require_integer(*bound[0], "indent's width"), 0);
    Runtime::check_text_bytes(static_cast<std::size_t>(width));
    margin.assign(static_cast<std::size_t>(width), ' ');
  }
  const bool blank = bound[2] && bound[2]->truthy();
  std::string out = bound[1] && bound[1]->truthy() ? margin : "";
  bool first = true;
  for (const std::string_view line : split_lines(text, false)) {
    if (!first) out += (blank || !line.empty()) ? "\n" + margin : "\n";
    out += line;
    Runtime::check_text_bytes(out.size());
    first = false;
  }
  return runtime.text(std::move(out));
}

Value truncate(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind("truncate", arguments, {"length", "killwords", "end", "leeway"});
  const std::int64_t length = bound[0] ? require_integer(*bound[0], "truncate's length") : 255;
  const std::string end = bound[2] ? require_string(*bound[2], "truncate's end") : "...";
  const std::int64_t leeway = bound[3] ? require_integer(*bound[3], "truncate's leeway") : 5;
  const std::string& text = require_string(self, "truncate's input");
  if (length < text_length(end) || leeway < 0) {
    throw TemplateError("truncate: length must hold `end`, and leeway must not be negative");
  }
  if (text_length(text) - leeway <= length) return self;
  std::string kept = text.substr(0, byte_offset(text, length - text_length(end)));
  if (!bound[1] || !bound[1]->truthy()) kept = kept.substr(0, kept.rfind(' '));
  return runtime.text(kept + end);
}

Value word_count(Runtime& runtime, const Value& self, const Arguments& arguments) {
  bind("wordcount", arguments, {});
  const std::string text = to_text(runtime, self);
  std::int64_t words = 0;
  bool in_word = false;
  for (std::size_t offset = 0; offset < text.size();) {
    const bool word = is_word(next_code_point(text, offset));
    words += word && !in_word;
    in_word = word;
  }
  return words;
}

Value to_string_filter(Runtime& runtime, const Value& self, const Arguments& arguments) {
  bind("string", arguments, {});
  return runtime.text(to_text(runtime, self));
}

Value safe(Runtime& runtime, const Value& self, const Arguments& arguments) {
  bind("safe", arguments, {});
  return runtime.text(to_text(runtime, self));
}

Value escape(Runtime& runtime, const Value& self, const Arguments& arguments) {
  bind("escape", arguments, {});
  std::string out;
  for (const char c : to_text(runtime, self)) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '\'': out += "&#39;"; break;
      case '"': out += "&#34;"; break;
      default: out += c;
    }
  }
  return runtime.text(std::move(out));
}

Value format(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const std::string text = to_text(runtime, self);
  if (!arguments.named.empty() && !arguments.positional.empty()) {
    throw TemplateError("can't handle positional and keyword arguments at the same time");
  }
  if (arguments.named.empty()) {
    return runtime.text(percent_format(runtime, text, arguments.positional, nullptr));
  }
  Dict named;
  for (const auto& [key, value] : arguments.named) named.set(Value(key), value);
  const Value mapping = runtime.dict(std::move(named));
  return runtime.text(percent_format(runtime, text, {mapping}, &mapping));
}

Value default_value(Runtime&, const Value& self, const Arguments& arguments) {
  const auto bound = bind("default", arguments, {"default_value", "boolean"});
  const bool boolean = bound[1] && bound[1]->truthy();
  if (!self.is_undefined() && !(boolean && !self.truthy())) return self;
  return bound[0] ? *bound[0] : Value(std::string());
}

// Removes the underscores that Python allows between digits; false when one stands elsewhere.
bool drop_underscores(std::string& digits) {
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (digits[i] != '_') continue;
    const bool inside = i > 0 && i + 1 < digits.size() && std::isalnum(digits[i - 1]) &&
                        std::isalnum(digits[i + 1]);
    if (!inside) return false;
  }
  std::erase(digits, '_');
  return true;
}

// int(text, base) of Python; nullopt where it raises ValueError.
std::optional<std::int64_t> parse_integer(std::string_view text, std::int64_t base) {
  std::string digits(strip_text(text, nullptr, true, true));
  bool negative = false;
  if (!digits.empty() && (digits[0] == '-' || digits[0] == '+')) {
    negative = digits[0] == '-';
    digits.erase(0, 1);
  }
  if (digits.size() > 2 && digits[0] == '0') {
    const char mark = static_cast<char>(std::tolower(static_cast<unsigned char>(digits[1])));
    if ((base == 16 && mark == 'x') || (base == 8 && mark == 'o') || (base == 2 && mark == 'b')) {
      digits.erase(0, 2);
    }
  }
  if (!drop_underscores(digits) || digits.empty() || digits[0] == '-') return std::nullopt;
  if (negative) digits.insert(0, "-");
  std::int64_t value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, static_cast<int>(base));
  if (end != digits.data() + digits.size() || error == std::errc::invalid_argument) {
    return std::nullopt;
  }
  if (error != std::errc()) throw TemplateError("an integer exceeds 64 bits signed");
  return value;
}

// float(text) of Python; nullopt where it raises ValueError.
std::optional<double> parse_float(std::string_view text) {
  std::string digits(strip_text(text, nullptr, true, true));
  if (!drop_underscores(digits) || digits.empty()) return std::nullopt;
  bool negative = false;
  if (digits[0] == '-' || digits[0] == '+') {
    negative = digits[0] == '-';
    digits.erase(0, 1);
  }
  double value = 0;
  const char* last = digits.data() + digits.size();
  const auto [end, error] = std::from_chars(digits.data(), last, value);
  if (end != last || error == std::errc::invalid_argument || digits[0] == '-' ||
      digits.find('(') != std::string::npos) {
    return std::nullopt;
  }
  if (error == std::errc::result_out_of_range) value = std::strtod(digits.c_str(), nullptr);
  return negative ? -value : value;
}

Value to_int(Runtime&, const Value& self, const Arguments& arguments) {
  const auto bound = bind("int", arguments, {"default", "base"});
  const Value fallback = bound[0] ? *bound[0] : Value(std::int64_t{0});
  const std::int64_t base = bound[1] ? require_integer(*bound[1], "int's base") : 10;
  if (self.is_undefined()) fail_undefined(self);
  if (self.is_integer()) return self.as_integer();
  if (self.is_large()) return self;
  double number = 0;
  if (self.is_string()) {
    if (base < 2 || base > 36) throw TemplateError("int's base must be 2 to 36");
    if (const auto value = parse_integer(self.as_string(), base)) return *value;
    const auto value = parse_float(self.as_string());
    if (!value) return fallback;
    number = *value;
  } else if (self.is_float()) {
    number = self.as_double();
  } else {
    return fallback;
  }
  if (!std::isfinite(number)) {
    return fallback;
  }
  if (std::abs(number) >= 0x1p63) throw TemplateError("an integer exceeds 64 bits signed");
  return static_cast<std::int64_t>(number);
}

Value to_float(Runtime&, const Value& self, const Arguments& arguments) {
  const auto bound = bind("float", arguments, {"default"});
  if (self.is_undefined()) fail_undefined(self);
  if (self.is_number()) return self.as_double();
  if (self.is_string()) {
    if (const auto value = parse_float(self.as_string())) return *value;
  }
  return bound[0] ? *bound[0] : Value(0.0);
}

Value absolute(Runtime&, const Value& self, const Arguments& arguments) {
  bind("abs", arguments, {});
  if (self.is_undefined()) fail_undefined(self);
  if (!self.is_number()) throw TemplateError("abs needs a number, not '" + self.type_name() + "'");
  if (self.is_float()) return std::abs(self.as_double());
  if (self.is_large()) return self;
  return self.as_integer() < 0 ? negate(self) : Value(self.as_integer());
}

// round(number, digits) of Python for digits >= 0: correctly rounded from the exact binary value.
double round_to(double number, int digits) {
  std::array<char, 512> buffer;
  std::snprintf(buffer.data(), buffer.size(), "%.*f", digits, number);
  return std::strtod(buffer.data(), nullptr);
}

Value round(Runtime&, const Value& self, const Arguments& arguments) {
  constexpr std::int64_t kMaxDigits = 100;
  const auto bound = bind("round", arguments, {"precision", "method"});
  const std::int64_t digits = bound[0] ? require_integer(*bound[0], "round's precision") : 0;
  const std::string method = bound[1] ? require_string(*bound[1], "round's method") : "common";
  if (self.is_undefined()) fail_undefined(self);
  if (!self.is_number()) throw TemplateError("round needs a number");
  if (digits < 0 || digits > kMaxDigits) throw TemplateError("round's precision must be 0 to 100");
  if (method == "common") {
    if (self.is_integer()) return self.as_integer();
    if (self.is_large()) return self;
    return std::isfinite(self.as_double())
               ? Value(round_to(self.as_double(), static_cast<int>(digits)))
               : self;
  }
  if (method != "ceil" && method != "floor") {
    throw TemplateError("method must be common, ceil or floor");
  }
  const double scale = std::pow(10.0, static_cast<double>(digits));
  const double scaled = self.as_double() * scale;
  if (!std::isfinite(scaled)) throw TemplateError("round needs a finite number");
  return (method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale;
}

JsonStyle json_style(Runtime& runtime, const std::vector<const Value*>& bound) {
  JsonStyle style;
  style.ensure_ascii = bound[0] && bound[0]->truthy();
  style.sort_keys = bound[3] && bound[3]->truthy();
  if (bound[1] && !bound[1]->is_none()) {
    style.multiline = true;
    style.item_separator = ",";
    if (bound[1]->is_string()) {
      style.indent = bound[1]->as_string();
    } else {
      const std::int64_t width = std::max<std::int64_t>(require_integer(*bound[1], "indent"), 0);
      Runtime::check_text_bytes(static_cast<std::size_t>(width));
      style.indent.assign(static_cast<std::size_t>(width), ' ');
    }
  }
  if (bound[2] && !bound[2]->is_none()) {
    const Items separators = iterate(runtime, *bound[2]);
    if (separators.size() != 2) throw TemplateError("separators must be a pair");
    style.item_separator = require_string(separators[0], "a separator");
    style.key_separator = require_string(separators[1], "a separator");
  }
  return style;
}

// Hugging Face's own tojson: json.dumps without HTML escapes.
Value to_json_filter(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound =
      bind("tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"});
  return runtime.text(to_json(runtime, self, json_style(runtime, bound)));
}

struct Filter {
  std::string_view name;
  Function function;
};

constexpr std::array<Filter, 23> kFilters = {{
    {"abs", absolute},
    {"capitalize", mapped<capitalize>},
    {"center", center},
    {"d", default_value},
    {"default", default_value},
    {"e", escape},
    {"escape", escape},
    {"float", to_float},
    {"forceescape", escape},
    {"format", format},
    {"indent", indent},
    {"int", to_int},
    {"lower", mapped<to_lower>},
    {"replace", replace},
    {"round", round},
    {"safe", safe},
    {"string", to_string_filter},
    {"title", title},
    {"tojson", to_json_filter},
    {"trim", trim},
    {"truncate", truncate},
    {"upper", mapped<to_upper>},
    {"wordcount", word_count},
}};

}  // namespace

Function find_scalar_filter(std::string_view name) {
  const auto at = std::find_if(kFilters.begin(), kFilters.end(),
                               [&](const Filter& filter) { return filter.name == name; });
  return at == kFilters.end() ? nullptr : at->function;
}

Function find_filter(std::string_view name) {
  const Function scalar = find_scalar_filter(name);
  return scalar ? scalar : find_sequence_filter(name);
}

}  // namespace lockstep::model::jinja
