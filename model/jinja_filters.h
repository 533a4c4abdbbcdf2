// The filters and tests of the template language.
#pragma once

#include <string_view>

#include "model/jinja_runtime.h"

namespace lockstep::model::jinja {

// jinja2's filter of that name, with tojson as Hugging Face defines it; nullptr when there is none.
// Autoescaping is off and Markup is not modelled: `safe` gives its input, `escape` plain text.
// What is a lazy generator in Python is computed at once, so an error in one that is never walked
// through shows here; walking through it works once, as there.
Function find_filter(std::string_view name);
// The filters on text and numbers, and those on sequences: the parts of find_filter().
Function find_scalar_filter(std::string_view name);
Function find_sequence_filter(std::string_view name);

// jinja2's test of that name, nullptr when there is none. Its result is a bool.
Function find_test(std::string_view name);

}  // namespace lockstep::model::jinja
