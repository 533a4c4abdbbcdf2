// What one render owns: its budget of steps and the objects that it made.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/jinja_value.h"

namespace lockstep::model::jinja {

class Runtime;

// Arguments of a call, already evaluated.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

// A filter, a test, a method or a global function: `self` is the filter's input, the method's
// object, or undefined. Throws TemplateError. Call it with invoke().
using Function = Value (*)(Runtime& runtime, const Value& self, const Arguments& arguments);
// Charges for the texts that `function` is given, each of which it may read or copy once, and calls
// it. What costs more (a search, a walk of a container, a hash), functions charge for themselves.
Value invoke(Runtime& runtime, Function function, const Value& self, const Arguments& arguments);

// A value with identity: functions, namespaces, generators, loop variables.
class Object {
 public:
  virtual ~Object() = default;
  // Python's type(object).__name__.
  virtual std::string type_name() const = 0;
  // What printing it gives.
  virtual std::string representation(Runtime& runtime) const;
  // nullopt when there is no such attribute.
  virtual std::optional<Value> attribute(Runtime& runtime, std::string_view name) const;
  virtual bool callable() const { return false; }
  virtual Value call(Runtime& runtime, const Arguments& arguments);
  // len(object), nullopt where Python has none.
  virtual std::optional<std::int64_t> length() const { return std::nullopt; }
};

// The result of map, select and their like: can be walked once, has no length and is always true.
class Generator final : public Object {
 public:
  explicit Generator(Items items) : items_(std::move(items)) {}
  std::string type_name() const override { return "generator"; }
  // The next item; nullopt at the end.
  std::optional<Value> take_one();
  // Takes items up to and with the first one equal to `wanted`; whether there was one.
  bool take_until(Runtime& runtime, const Value& wanted);

 private:
  Items items_;
  std::size_t taken_ = 0;
};

// A function with what it is bound to.
class BoundFunction final : public Object {
 public:
  BoundFunction(std::string name, Value self, Function function)
      : name_(std::move(name)), self_(std::move(self)), function_(function) {}
  std::string type_name() const override { return "builtin_function_or_method"; }
  bool callable() const override { return true; }
  Value call(Runtime& runtime, const Arguments& arguments) override {
    return invoke(runtime, function_, self_, arguments);
  }

 private:
  std::string name_;
  Value self_;
  Function function_;
};

// The only place that makes containers and long texts, so that limits hold everywhere.
class Runtime {
 public:
  Runtime() = default;
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  // Spends `steps`; throws TemplateError when the render's budget is used up.
  void charge(std::size_t steps);
  // Spends the steps of reading `text`.
  void charge_text(std::string_view text);
  // Throws TemplateError when a text of `bytes` would be over the limit. Call before building one.
  static void check_text_bytes(std::size_t bytes);

  // Charge for what they build; throw TemplateError at the limits of length and depth.
  Value text(std::string text);
  Value list(Items items);
  Value tuple(Items items);
  Value dict(Dict dict);
  Value generator(Items items);

  // Counts objects that print each other; throws TemplateError over kMaxNesting.
  class Nested {
   public:
    explicit Nested(Runtime& runtime);
    ~Nested() { --runtime_.nesting_; }

   private:
    Runtime& runtime_;
  };

  // An object that lives as long as this runtime.
  template <class T, class... Args>
  T* make(Args&&... args) {
    auto object = std::make_unique<T>(std::forward<Args>(args)...);
    T* made = object.get();
    objects_.push_back(std::move(object));
    return made;
  }

 private:
  Value checked(Value value);

  std::size_t steps_ = 0;
  int nesting_ = 0;
  std::vector<std::unique_ptr<Object>> objects_;
};

// `arguments` matched to `parameters` as Python does; nullptr where one is not given. A parameter
// with an empty name can only be given by position. Throws TemplateError naming `function`.
std::vector<const Value*> bind(std::string_view function, const Arguments& arguments,
                               std::initializer_list<std::string_view> parameters,
                               std::size_t required = 0);

// The items that iterating over `value` gives: dict keys, code points of a string, ... Consumes a
// generator. Throws TemplateError when it cannot be iterated over.
Items iterate(Runtime& runtime, const Value& value);
// Python's len(). Throws TemplateError.
std::int64_t length_of(const Value& value);

// The argument as a Python int or str; throws TemplateError naming `what`.
std::int64_t require_integer(const Value& value, std::string_view what);
const std::string& require_string(const Value& value, std::string_view what);
// Throws the TemplateError of an undefined value that is used.
[[noreturn]] void fail_undefined(const Value& value);

}  // namespace lockstep::model::jinja
