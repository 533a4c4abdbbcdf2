// Values as text, as Python's str(), repr() and json.dumps() write them.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "model/jinja_runtime.h"
#include "model/jinja_value.h"

namespace lockstep::model::jinja {

// str(value). Charges `runtime` for the work.
std::string to_text(Runtime& runtime, const Value& value);
// repr(value).
std::string to_repr(Runtime& runtime, const Value& value);
// repr() of a float: the shortest text that reads back as the same number.
std::string float_repr(double value);
// repr() of a str, quotes included.
std::string string_repr(std::string_view text);

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  bool multiline = false;  // indent was given
  std::string indent;      // one level of it
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};

// json.dumps(value). Throws TemplateError for what JSON has no form of.
std::string to_json(Runtime& runtime, const Value& value, const JsonStyle& style);

// The template's view of a JSON document. Throws TemplateError on nesting over the limit, on
// integers over 64 bits signed and on text that is not UTF-8.
Value from_json(Runtime& runtime, const nlohmann::ordered_json& json);

}  // namespace lockstep::model::jinja
