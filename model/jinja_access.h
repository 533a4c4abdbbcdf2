// value.name and value[index], by the rules of jinja2's immutable sandbox.
#pragma once

#include <string_view>

#include "model/jinja_runtime.h"
#include "model/jinja_value.h"

namespace lockstep::model::jinja {

// value.name: a method or attribute first, then an item. Undefined when there is neither; throws
// TemplateError on an attribute of undefined.
Value get_attribute(Runtime& runtime, const Value& value, std::string_view name);
// value[index]: an item first, then an attribute. Undefined and errors as above.
Value get_item(Runtime& runtime, const Value& value, const Value& index);

// The method `name` of the type of `value`, nullptr when it has none.
Function find_method(const Value& value, std::string_view name);
// The parts of find_method(): methods of str, and those of dict, list, tuple and range.
Function find_string_method(std::string_view name);
Function find_container_method(const Value& value, std::string_view name);

}  // namespace lockstep::model::jinja
