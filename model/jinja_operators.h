// Python's operators on template values. All throw TemplateError where Python raises.
#pragma once

#include <string_view>

#include "model/jinja_runtime.h"
#include "model/jinja_value.h"

namespace lockstep::model::jinja {

enum class BinaryOp { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kModulo, kPower };
enum class CompareOp { kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual, kIn, kNotIn };

// The operator as it is written: "//".
std::string_view symbol(BinaryOp op);
std::string_view symbol(CompareOp op);

Value apply(Runtime& runtime, BinaryOp op, const Value& a, const Value& b);
Value negate(const Value& value);
Value plus(const Value& value);

// REQUIRES: `op` is not kIn or kNotIn.
bool compare(const Value& a, CompareOp op, const Value& b);
// needle in haystack.
bool contains(Runtime& runtime, const Value& haystack, const Value& needle);

// value[start:stop:step]; None stands for a part that is left out.
Value slice(Runtime& runtime, const Value& value, const Value& start, const Value& stop,
            const Value& step);
// value[index] for sequences, texts, ranges and dicts; nullptr-like nullopt where Python raises
// LookupError or TypeError.
std::optional<Value> subscript(Runtime& runtime, const Value& value, const Value& index);

}  // namespace lockstep::model::jinja
