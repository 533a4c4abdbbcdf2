// JSON in and out of template values.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "model/jinja_limits.h"
#include "model/jinja_operators.h"
#include "model/jinja_print.h"
#include "model/jinja_text.h"

namespace lockstep::model::jinja {
namespace {

std::string unicode_escape(unsigned unit) {
  std::array<char, 16> buffer;
  std::snprintf(buffer.data(), buffer.size(), "\\u%04x", unit);
  return buffer.data();
}

void append_ascii_escape(char32_t c, std::string& out) {
  if (c < 0x10000) {
    out += unicode_escape(c);
    return;
  }
  const char32_t offset = c - 0x10000;
  out += unicode_escape(0xD800 + (offset >> 10));
  out += unicode_escape(0xDC00 + (offset & 0x3FF));
}

void append_json_string(std::string_view text, bool ensure_ascii, std::string& out) {
  out += '"';
  for (std::size_t offset = 0; offset < text.size();) {
    const char32_t c = next_code_point(text, offset);
    switch (c) {
      case U'"': out += "\\\""; break;
      case U'\\': out += "\\\\"; break;
      case U'\n': out += "\\n"; break;
      case U'\r': out += "\\r"; break;
      case U'\t': out += "\\t"; break;
      case U'\b': out += "\\b"; break;
      case U'\f': out += "\\f"; break;
      default:
        if (c < 0x20 || (ensure_ascii && c >= 0x7F)) {
          append_ascii_escape(c, out);
        } else {
          append_code_point(c, out);
        }
    }
  }
  out += '"';
}

std::string json_number(const Value& value) {
  if (value.is_bool()) return value.truthy() ? "true" : "false";
  if (value.is_integer()) return std::to_string(value.as_integer());
  if (value.is_large()) return std::to_string(value.as_large());
  const double number = value.as_double();
  if (std::isnan(number)) return "NaN";
  if (std::isinf(number)) return number < 0 ? "-Infinity" : "Infinity";
  return float_repr(number);
}

// json.dumps: layout as in Lib/json/encoder.py.
class JsonWriter {
 public:
  JsonWriter(Runtime& runtime, const JsonStyle& style) : runtime_(runtime), style_(style) {}

  std::string write(const Value& value) {
    append(value, 1);
    return std::move(out_);
  }

 private:
  void append(const Value& value, int level) {
    Runtime::check_text_bytes(out_.size());
    runtime_.charge(1);
    if (value.is_string()) {
      append_json_string(value.as_string(), style_.ensure_ascii, out_);
    } else if (value.is_none()) {
      out_ += "null";
    } else if (value.is_number()) {
      out_ += json_number(value);
    } else if (value.is_sequence()) {
      append_array(value.items(), level);
    } else if (value.is_dict()) {
      append_object(value.as_dict(), level);
    } else {
      throw TemplateError("Object of type " + value.type_name() + " is not JSON serializable");
    }
  }

  void append_line(int level) {
    if (!style_.multiline) return;
    Runtime::check_text_bytes(out_.size() + style_.indent.size() * static_cast<std::size_t>(level));
    out_ += '\n';
    for (int i = 0; i < level; ++i) out_ += style_.indent;
  }

  void append_array(const Items& items, int level) {
    out_ += '[';
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      append_line(level);
      append(items[i], level + 1);
    }
    if (!items.empty()) append_line(level - 1);
    out_ += ']';
  }

  void append_object(const Dict& dict, int level) {
    std::vector<Dict::Entry> entries = dict.entries();
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(), [&](const auto& a, const auto& b) {
        runtime_.charge(std::min(a.first.weight(), b.first.weight()));
        return compare(a.first, CompareOp::kLess, b.first);
      });
    }
    out_ += '{';
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      append_line(level);
      append_key(entries[i].first);
      out_ += style_.key_separator;
      append(entries[i].second, level + 1);
    }
    if (!entries.empty()) append_line(level - 1);
    out_ += '}';
  }

  void append_key(const Value& key) {
    if (key.is_string()) {
      append_json_string(key.as_string(), style_.ensure_ascii, out_);
    } else if (key.is_none()) {
      out_ += "\"null\"";
    } else if (key.is_number()) {
      out_ += '"' + json_number(key) + '"';
    } else {
      throw TemplateError("keys must be str, int, float, bool or None, not " + key.type_name());
    }
  }

  Runtime& runtime_;
  const JsonStyle& style_;
  std::string out_;
};

Value checked_text(const std::string& text) {
  if (find_invalid_utf8(text) != std::string::npos) throw TemplateError("a text is not UTF-8");
  return Value(text);
}

Value convert(Runtime& runtime, const nlohmann::ordered_json& json, int depth) {
  if (depth > kMaxNesting) {
    throw TemplateError("a value exceeds the nesting depth limit of " +
                        std::to_string(kMaxNesting));
  }
  switch (json.type()) {
    case nlohmann::ordered_json::value_t::null: return None{};
    case nlohmann::ordered_json::value_t::boolean: return json.get<bool>();
    case nlohmann::ordered_json::value_t::number_float: return json.get<double>();
    case nlohmann::ordered_json::value_t::number_integer: return json.get<std::int64_t>();
    case nlohmann::ordered_json::value_t::number_unsigned:
      if (json.get<std::uint64_t>() >> 63) return Value::large(json.get<std::uint64_t>());
      return json.get<std::int64_t>();
    case nlohmann::ordered_json::value_t::string:
      return checked_text(json.get_ref<const std::string&>());
    case nlohmann::ordered_json::value_t::array: {
      Items items;
      items.reserve(json.size());
      for (const auto& item : json) items.push_back(convert(runtime, item, depth + 1));
      return runtime.list(std::move(items));
    }
    case nlohmann::ordered_json::value_t::object: {
      Dict dict;
      for (const auto& [key, value] : json.items()) {
        dict.set(checked_text(key), convert(runtime, value, depth + 1));
      }
      return runtime.dict(std::move(dict));
    }
    case nlohmann::ordered_json::value_t::binary:
    case nlohmann::ordered_json::value_t::discarded: break;
  }
  throw TemplateError("a value is not JSON");
}

}  // namespace

std::string to_json(Runtime& runtime, const Value& value, const JsonStyle& style) {
  return JsonWriter(runtime, style).write(value);
}

Value from_json(Runtime& runtime, const nlohmann::ordered_json& json) {
  return convert(runtime, json, 1);
}

}  // namespace lockstep::model::jinja
