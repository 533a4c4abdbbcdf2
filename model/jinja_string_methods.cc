// Methods of str.
#include <algorithm>
#include <array>
#include <string_view>

#include "model/jinja_access.h"
#include "model/jinja_format.h"
#include "model/jinja_limits.h"
#include "model/jinja_operators.h"
#include "model/jinja_print.h"
#include "model/jinja_text.h"

namespace lockstep::model::jinja {
namespace {

using Views = std::vector<std::string_view>;

Value text_list(Runtime& runtime, const Views& parts) {
  Items items;
  for (const std::string_view part : parts) items.push_back(runtime.text(std::string(part)));
  return runtime.list(std::move(items));
}

template <std::string (*mapping)(std::string_view)>
Value mapped(Runtime& runtime, const Value& self, const Arguments& arguments) {
  bind("a case method", arguments, {});
  runtime.charge(self.weight());
  return runtime.text(mapping(self.as_string()));
}

Value strip(Runtime& runtime, const Value& self, const Arguments& arguments, bool left,
            bool right) {
  const auto bound = bind("strip", arguments, {""});
  if (!bound[0] || bound[0]->is_none()) {
    return runtime.text(std::string(strip_text(self.as_string(), nullptr, left, right)));
  }
  const std::string_view characters = require_string(*bound[0], "strip()'s argument");
  runtime.charge(self.weight() * bound[0]->weight());
  return runtime.text(std::string(strip_text(self.as_string(), &characters, left, right)));
}

Value strip_both(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return strip(runtime, self, arguments, true, true);
}

Value strip_left(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return strip(runtime, self, arguments, true, false);
}

Value strip_right(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return strip(runtime, self, arguments, false, true);
}

// str.split() without a separator: at runs of whitespace.
Views split_words(std::string_view text, std::int64_t limit) {
  Views parts;
  for (text = strip_text(text, nullptr, true, false); !text.empty();
       text = strip_text(text, nullptr, true, false)) {
    if (limit-- == 0) {
      parts.push_back(text);
      break;
    }
    std::size_t end = 0;
    for (std::size_t next = 0; end < text.size(); end = next) {
      if (is_space(next_code_point(text, next))) break;
    }
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return parts;
}

// As split_words(), from the right.
Views split_words_right(std::string_view text, std::int64_t limit) {
  Views parts;
  for (text = strip_text(text, nullptr, false, true); !text.empty();
       text = strip_text(text, nullptr, false, true)) {
    if (limit-- == 0) {
      parts.push_back(text);
      break;
    }
    std::size_t start = 0;
    for (std::size_t offset = 0; offset < text.size();) {
      if (is_space(next_code_point(text, offset))) start = offset;
    }
    parts.push_back(text.substr(start));
    text = text.substr(0, start);
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

Views split_at(std::string_view text, std::string_view separator, std::int64_t limit) {
  Views parts;
  std::size_t at;
  while (limit-- != 0 && (at = text.find(separator)) != std::string_view::npos) {
    parts.push_back(text.substr(0, at));
    text.remove_prefix(at + separator.size());
  }
  parts.push_back(text);
  return parts;
}

Views split_at_right(std::string_view text, std::string_view separator, std::int64_t limit) {
  Views parts;
  std::size_t at;
  while (limit-- != 0 && (at = text.rfind(separator)) != std::string_view::npos) {
    parts.push_back(text.substr(at + separator.size()));
    text = text.substr(0, at);
  }
  parts.push_back(text);
  std::reverse(parts.begin(), parts.end());
  return parts;
}

Value split(Runtime& runtime, const Value& self, const Arguments& arguments, bool right) {
  const auto bound = bind("split", arguments, {"sep", "maxsplit"});
  const std::int64_t limit = bound[1] ? require_integer(*bound[1], "maxsplit") : -1;
  runtime.charge(self.weight());
  const std::string& text = self.as_string();
  if (!bound[0] || bound[0]->is_none()) {
    if (right && limit >= 0) {
      runtime.charge(self.weight() * static_cast<std::size_t>(std::min<std::int64_t>(
                                         limit, static_cast<std::int64_t>(text.size()))));
      return text_list(runtime, split_words_right(text, limit));
    }
    return text_list(runtime, split_words(text, limit));
  }
  const std::string& separator = require_string(*bound[0], "a separator");
  if (separator.empty()) throw TemplateError("empty separator");
  runtime.charge(self.weight() * bound[0]->weight());
  return text_list(
      runtime, right ? split_at_right(text, separator, limit) : split_at(text, separator, limit));
}

Value split_from_left(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return split(runtime, self, arguments, false);
}

Value split_from_right(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return split(runtime, self, arguments, true);
}

Value split_into_lines(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind("splitlines", arguments, {"keepends"});
  runtime.charge(self.weight());
  return text_list(runtime, split_lines(self.as_string(), bound[0] && bound[0]->truthy()));
}

Value partition_at(Runtime& runtime, const Value& self, const Arguments& arguments, bool right) {
  const auto bound = bind("partition", arguments, {""}, 1);
  const std::string& separator = require_string(*bound[0], "a separator");
  if (separator.empty()) throw TemplateError("empty separator");
  runtime.charge(self.weight() * bound[0]->weight());
  const std::string& text = self.as_string();
  const std::size_t at = right ? text.rfind(separator) : text.find(separator);
  if (at == std::string::npos) {
    const Value empty{std::string()};
    return right ? runtime.tuple({empty, empty, self}) : runtime.tuple({self, empty, empty});
  }
  return runtime.tuple({runtime.text(text.substr(0, at)), *bound[0],
                        runtime.text(text.substr(at + separator.size()))});
}

Value partition(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return partition_at(runtime, self, arguments, false);
}

Value partition_right(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return partition_at(runtime, self, arguments, true);
}

// The part of a text that find(), count() and startswith() look at.
struct Window {
  std::string_view text;
  std::int64_t start;  // in code points
  bool valid;          // false when start lies behind the end: then nothing matches
};

Window window(const Value& self, const Value* start, const Value* stop) {
  const std::string_view text = self.as_string();
  if (!start && !stop) return {text, 0, true};
  const std::int64_t length = text_length(text);
  const auto limit = [&](const Value* value, std::int64_t missing) {
    if (!value || value->is_none()) return missing;
    const std::int64_t at = require_integer(*value, "a text index");
    return at < 0 ? std::max<std::int64_t>(at < -length ? 0 : at + length, 0) : at;
  };
  const std::int64_t first = limit(start, 0);
  const std::int64_t last = std::min(limit(stop, length), length);
  if (first > last) return {{}, first, false};
  const std::string_view rest = text.substr(byte_offset(text, first));
  return {rest.substr(0, byte_offset(rest, last - first)), first, true};
}

std::int64_t find_in(Runtime& runtime, const Value& self, const Arguments& arguments, bool right) {
  const auto bound = bind("find", arguments, {"", "", ""}, 1);
  const std::string& wanted = require_string(*bound[0], "what is searched for");
  runtime.charge(self.weight() * bound[0]->weight());
  const Window in = window(self, bound[1], bound[2]);
  const std::size_t at = right ? in.text.rfind(wanted) : in.text.find(wanted);
  if (!in.valid || at == std::string_view::npos) return -1;
  return in.start + text_length(in.text.substr(0, at));
}

Value find(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return find_in(runtime, self, arguments, false);
}

Value find_right(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return find_in(runtime, self, arguments, true);
}

Value index_checked(std::int64_t at) {
  if (at < 0) throw TemplateError("substring not found");
  return at;
}

Value index(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return index_checked(find_in(runtime, self, arguments, false));
}

Value index_right(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return index_checked(find_in(runtime, self, arguments, true));
}

Value count(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind("count", arguments, {"", "", ""}, 1);
  const std::string& wanted = require_string(*bound[0], "what is counted");
  runtime.charge(self.weight() * bound[0]->weight());
  const Window in = window(self, bound[1], bound[2]);
  if (!in.valid) return std::int64_t{0};
  if (wanted.empty()) return text_length(in.text) + 1;
  return static_cast<std::int64_t>(split_at(in.text, wanted, -1).size()) - 1;
}

Value has_affix(Runtime& runtime, const Value& self, const Arguments& arguments, bool prefix) {
  const auto bound = bind(prefix ? "startswith" : "endswith", arguments, {"", "", ""}, 1);
  const Window in = window(self, bound[1], bound[2]);
  const auto matches = [&](const Value& affix) {
    const std::string& text = require_string(affix, "a prefix or suffix");
    runtime.charge_text(text);
    return in.valid && (prefix ? in.text.starts_with(text) : in.text.ends_with(text));
  };
  if (!bound[0]->is_tuple()) return matches(*bound[0]);
  const Items& affixes = bound[0]->items();
  return std::any_of(affixes.begin(), affixes.end(), matches);
}

Value starts_with(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return has_affix(runtime, self, arguments, true);
}

Value ends_with(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return has_affix(runtime, self, arguments, false);
}

Value remove_prefix(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind("removeprefix", arguments, {""}, 1);
  const std::string& affix = require_string(*bound[0], "a prefix");
  if (!self.as_string().starts_with(affix)) return self;
  return runtime.text(self.as_string().substr(affix.size()));
}

Value remove_suffix(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind("removesuffix", arguments, {""}, 1);
  const std::string& affix = require_string(*bound[0], "a suffix");
  if (!self.as_string().ends_with(affix)) return self;
  return runtime.text(self.as_string().substr(0, self.as_string().size() - affix.size()));
}

// Where `old` is empty: between all code points.
Views split_for_replace(std::string_view text, std::string_view old, std::int64_t limit) {
  if (!old.empty()) return split_at(text, old, limit);
  if (limit == 0) return {text};
  Views parts = {text.substr(0, 0)};
  while (!text.empty() && static_cast<std::int64_t>(parts.size()) != limit) {
    parts.push_back(text.substr(0, sequence_bytes(text.front())));
    text.remove_prefix(parts.back().size());
  }
  parts.push_back(text);
  return parts;
}

Value replace(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind("replace", arguments, {"", "", ""}, 2);
  const std::string& old = require_string(*bound[0], "what is replaced");
  const std::string& fresh = require_string(*bound[1], "a replacement");
  const std::int64_t limit = bound[2] ? require_integer(*bound[2], "a count") : -1;
  runtime.charge(self.weight() * bound[0]->weight());
  const Views parts = split_for_replace(self.as_string(), old, limit);
  const std::size_t replaced = parts.size() - 1;
  Runtime::check_text_bytes(self.as_string().size() - replaced * old.size() +
                            replaced * fresh.size());
  std::string out;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) out += fresh;
    out += parts[i];
  }
  return runtime.text(std::move(out));
}

Value join(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind("join", arguments, {""}, 1);
  std::string out;
  bool first = true;
  for (const Value& item : iterate(runtime, *bound[0])) {
    if (!item.is_string()) {
      throw TemplateError("join(): expected str instance, " + item.type_name() + " found");
    }
    if (!first) out += self.as_string();
    out += item.as_string();
    Runtime::check_text_bytes(out.size());
    first = false;
  }
  return runtime.text(std::move(out));
}

Value format(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return runtime.text(brace_format(runtime, self.as_string(), arguments));
}

// ljust, rjust and center: `left_share` of the missing width goes to the left.
Value justify(Runtime& runtime, const Value& self, const Arguments& arguments, char align) {
  const auto bound = bind("justify", arguments, {"", ""}, 1);
  const std::int64_t width = require_integer(*bound[0], "a width");
  const std::string fill = bound[1] ? require_string(*bound[1], "a fill character") : " ";
  if (text_length(fill) != 1) throw TemplateError("the fill must be exactly one character long");
  const std::int64_t missing = width - text_length(self.as_string());
  if (missing <= 0) return self;
  Runtime::check_text_bytes(static_cast<std::size_t>(missing));
  // CPython's rule for an odd rest in center().
  const std::int64_t left = align == '<'   ? 0
                            : align == '>' ? missing
                                           : missing / 2 + (missing & width & 1);
  std::string out;
  for (std::int64_t i = 0; i < left; ++i) out += fill;
  out += self.as_string();
  for (std::int64_t i = left; i < missing; ++i) out += fill;
  return runtime.text(std::move(out));
}

Value justify_left(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return justify(runtime, self, arguments, '<');
}

Value justify_right(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return justify(runtime, self, arguments, '>');
}

Value center(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return justify(runtime, self, arguments, '^');
}

Value zero_fill(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const auto bound = bind("zfill", arguments, {""}, 1);
  const std::int64_t missing =
      require_integer(*bound[0], "a width") - text_length(self.as_string());
  if (missing <= 0) return self;
  Runtime::check_text_bytes(static_cast<std::size_t>(missing));
  std::string out = self.as_string();
  const bool has_sign = !out.empty() && (out.front() == '-' || out.front() == '+');
  out.insert(has_sign ? 1 : 0, static_cast<std::size_t>(missing), '0');
  return runtime.text(std::move(out));
}

template <bool (*property)(char32_t)>
Value all_are(Runtime& runtime, const Value& self, const Arguments& arguments) {
  bind("a character test", arguments, {});
  runtime.charge(self.weight());
  const std::string& text = self.as_string();
  for (std::size_t offset = 0; offset < text.size();) {
    if (!property(next_code_point(text, offset))) return false;
  }
  return !text.empty();
}

bool is_alphanumeric(char32_t c) { return is_alpha(c) || is_numeric(c); }

// isupper() and islower(): at least one letter has case, and none has the `other` one.
template <bool (*wanted)(char32_t), bool (*other)(char32_t)>
Value has_case(Runtime& runtime, const Value& self, const Arguments& arguments) {
  bind("a case test", arguments, {});
  runtime.charge(self.weight());
  const std::string& text = self.as_string();
  bool found = false;
  for (std::size_t offset = 0; offset < text.size();) {
    const char32_t c = next_code_point(text, offset);
    if (other(c)) return false;
    found = found || wanted(c);
  }
  return found;
}

struct Method {
  std::string_view name;
  Function function;
};

constexpr std::array<Method, 38> kMethods = {{
    {"capitalize", mapped<capitalize>},
    {"casefold", mapped<to_lower>},
    {"center", center},
    {"count", count},
    {"endswith", ends_with},
    {"find", find},
    {"format", format},
    {"index", index},
    {"isalnum", all_are<is_alphanumeric>},
    {"isalpha", all_are<is_alpha>},
    {"isdecimal", all_are<is_decimal>},
    {"isdigit", all_are<is_decimal>},
    {"islower", has_case<is_lower, is_upper>},
    {"isnumeric", all_are<is_numeric>},
    {"isspace", all_are<is_space>},
    {"isupper", has_case<is_upper, is_lower>},
    {"join", join},
    {"ljust", justify_left},
    {"lower", mapped<to_lower>},
    {"lstrip", strip_left},
    {"partition", partition},
    {"removeprefix", remove_prefix},
    {"removesuffix", remove_suffix},
    {"replace", replace},
    {"rfind", find_right},
    {"rindex", index_right},
    {"rjust", justify_right},
    {"rpartition", partition_right},
    {"rsplit", split_from_right},
    {"rstrip", strip_right},
    {"split", split_from_left},
    {"splitlines", split_into_lines},
    {"startswith", starts_with},
    {"strip", strip_both},
    {"swapcase", mapped<swap_case>},
    {"title", mapped<title_case>},
    {"upper", mapped<to_upper>},
    {"zfill", zero_fill},
}};

}  // namespace

Function find_string_method(std::string_view name) {
  const auto at = std::lower_bound(
      kMethods.begin(), kMethods.end(), name,
      [](const Method& method, std::string_view wanted) { return method.name < wanted; });
  return at != kMethods.end() && at->name == name ? at->function : nullptr;
}

}  // namespace lockstep::model::jinja
