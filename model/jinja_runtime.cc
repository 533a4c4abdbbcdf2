#include "model/jinja_runtime.h"

#include <algorithm>

#include "model/jinja_limits.h"
#include "model/jinja_text.h"

namespace lockstep::model::jinja {

Value invoke(Runtime& runtime, Function function, const Value& self, const Arguments& arguments) {
  const auto charge = [&](const Value& value) {
    if (value.is_string()) runtime.charge_text(value.as_string());
  };
  charge(self);
  for (const Value& value : arguments.positional) charge(value);
  for (const auto& [name, value] : arguments.named) charge(value);
  return function(runtime, self, arguments);
}

std::string Object::representation(Runtime&) const { return "<" + type_name() + " object>"; }

std::optional<Value> Object::attribute(Runtime&, std::string_view) const { return std::nullopt; }

Value Object::call(Runtime&, const Arguments&) {
  throw TemplateError("'" + type_name() + "' object is not callable");
}

std::optional<Value> Generator::take_one() {
  if (taken_ == items_.size()) return std::nullopt;
  return items_[taken_++];
}

bool Generator::take_until(Runtime& runtime, const Value& wanted) {
  while (std::optional<Value> item = take_one()) {
    runtime.charge(std::min(item->weight(), wanted.weight()));
    if (equal(*item, wanted)) return true;
  }
  return false;
}

Runtime::Nested::Nested(Runtime& runtime) : runtime_(runtime) {
  if (runtime_.nesting_ == kMaxNesting) {
    throw TemplateError("a value exceeds the nesting depth limit of " +
                        std::to_string(kMaxNesting));
  }
  ++runtime_.nesting_;
}

void Runtime::charge(std::size_t steps) {
  if (steps > kMaxSteps - steps_) {
    throw TemplateError("the template exceeds the limit of " + std::to_string(kMaxSteps) +
                        " steps");
  }
  steps_ += steps;
}

void Runtime::charge_text(std::string_view text) { charge(1 + text.size() / kBytesPerStep); }

void Runtime::check_text_bytes(std::size_t bytes) {
  if (bytes > kMaxOutputBytes) {
    throw TemplateError("a text exceeds the output limit of " + std::to_string(kMaxOutputBytes) +
                        " bytes");
  }
}

Value Runtime::checked(Value value) {
  if (value.depth() > kMaxNesting) {
    throw TemplateError("a value exceeds the nesting depth limit of " +
                        std::to_string(kMaxNesting));
  }
  return value;
}

Value Runtime::text(std::string text) {
  check_text_bytes(text.size());
  charge_text(text);
  return Value(std::move(text));
}

Value Runtime::list(Items items) {
  charge(1 + items.size());
  return checked(Value::list(std::move(items)));
}

Value Runtime::tuple(Items items) {
  charge(1 + items.size());
  return checked(Value::tuple(std::move(items)));
}

Value Runtime::dict(Dict dict) {
  charge(1 + dict.entries().size());
  return checked(Value::dict(std::move(dict)));
}

Value Runtime::generator(Items items) {
  charge(1 + items.size());
  return make<Generator>(std::move(items));
}

std::vector<const Value*> bind(std::string_view function, const Arguments& arguments,
                               std::initializer_list<std::string_view> parameters,
                               std::size_t required) {
  const std::string name(function);
  if (arguments.positional.size() > parameters.size()) {
    throw TemplateError(name + "() takes at most " + std::to_string(parameters.size()) +
                        " arguments (" + std::to_string(arguments.positional.size()) + " given)");
  }
  std::vector<const Value*> bound(parameters.size(), nullptr);
  for (std::size_t i = 0; i < arguments.positional.size(); ++i) bound[i] = &arguments.positional[i];
  for (const auto& [key, value] : arguments.named) {
    const auto at = std::find(parameters.begin(), parameters.end(), key);
    if (at == parameters.end() || key.empty()) {
      throw TemplateError(name + "() got an unexpected keyword argument '" + key + "'");
    }
    const Value*& slot = bound[static_cast<std::size_t>(at - parameters.begin())];
    if (slot) throw TemplateError(name + "() got multiple values for argument '" + key + "'");
    slot = &value;
  }
  for (std::size_t i = 0; i < required; ++i) {
    if (!bound[i]) {
      throw TemplateError(name + "() misses argument " + std::to_string(i + 1));
    }
  }
  return bound;
}

Items iterate(Runtime& runtime, const Value& value) {
  Items items;
  if (value.is_sequence()) {
    items = value.items();
  } else if (value.is_string()) {
    runtime.charge_text(value.as_string());
    for (const std::string_view part : split_code_points(value.as_string())) {
      items.emplace_back(std::string(part));
    }
  } else if (value.is_dict()) {
    for (const auto& entry : value.as_dict().entries()) items.push_back(entry.first);
  } else if (value.is_view()) {
    for (const auto& [key, mapped] : value.as_view().dict->entries()) {
      switch (value.as_view().part) {
        case DictPart::kKeys: items.push_back(key); break;
        case DictPart::kValues: items.push_back(mapped); break;
        case DictPart::kItems: items.push_back(Value::tuple({key, mapped})); break;
      }
    }
  } else if (value.is_range()) {
    for (std::int64_t i = 0; i < value.as_range().size(); ++i) {
      items.emplace_back(value.as_range().at(i));
    }
  } else if (auto* generator =
                 value.is_object() ? dynamic_cast<Generator*>(value.as_object()) : nullptr) {
    while (std::optional<Value> item = generator->take_one()) items.push_back(*std::move(item));
  } else if (!value.is_undefined()) {
    throw TemplateError("'" + value.type_name() + "' object is not iterable");
  }
  runtime.charge(items.size());
  return items;
}

std::int64_t length_of(const Value& value) {
  if (value.is_undefined()) return 0;
  if (value.is_string()) return text_length(value.as_string());
  if (value.is_sequence()) return static_cast<std::int64_t>(value.items().size());
  if (value.is_dict()) return static_cast<std::int64_t>(value.as_dict().entries().size());
  if (value.is_view()) return static_cast<std::int64_t>(value.as_view().dict->entries().size());
  if (value.is_range()) return value.as_range().size();
  if (value.is_object()) {
    if (const auto length = value.as_object()->length()) return *length;
  }
  throw TemplateError("object of type '" + value.type_name() + "' has no len()");
}

std::int64_t require_integer(const Value& value, std::string_view what) {
  if (value.is_undefined()) fail_undefined(value);
  if (value.is_integer()) return value.as_integer();
  if (value.is_large()) throw TemplateError(std::string(what) + " exceeds 64 bits signed");
  throw TemplateError(std::string(what) + " must be an integer, not '" + value.type_name() + "'");
}

const std::string& require_string(const Value& value, std::string_view what) {
  if (value.is_undefined()) fail_undefined(value);
  if (value.is_string()) return value.as_string();
  throw TemplateError(std::string(what) + " must be a string, not '" + value.type_name() + "'");
}

void fail_undefined(const Value& value) {
  const auto& reason = value.as_undefined().reason;
  throw TemplateError(reason ? *reason : "an undefined value was used");
}

}  // namespace lockstep::model::jinja
