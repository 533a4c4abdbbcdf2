// Python's two ways of formatting text: "%s" % values and "{}".format(values).
#pragma once

#include <string>
#include <string_view>

#include "model/jinja_runtime.h"
#include "model/jinja_value.h"

namespace lockstep::model::jinja {

// format % values: printf-style. `mapping` serves %(name)s and is nullptr when the right-hand side
// was a tuple. Throws TemplateError where Python raises.
std::string percent_format(Runtime& runtime, std::string_view format, const Items& values,
                           const Value* mapping);

// format.format(*positional, **named), with the attribute rules of the sandbox.
std::string brace_format(Runtime& runtime, std::string_view format, const Arguments& arguments);

// format(value, spec): Python's format specification mini-language.
std::string format_value(Runtime& runtime, const Value& value, std::string_view spec);

}  // namespace lockstep::model::jinja
