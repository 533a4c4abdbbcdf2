// The global functions of a template and the objects that they make.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/jinja_runtime.h"

namespace lockstep::model::jinja {

// A template's raise_exception(message).
class RaisedException final : public TemplateError {
 public:
  using TemplateError::TemplateError;
};

// namespace(): the one kind of value that a template may change.
class Namespace final : public Object {
 public:
  explicit Namespace(Dict attributes) : attributes_(std::move(attributes)) {}
  std::string type_name() const override { return "Namespace"; }
  std::string representation(Runtime& runtime) const override;
  std::optional<Value> attribute(Runtime& runtime, std::string_view name) const override;
  void set(std::string_view name, Value value);

 private:
  Dict attributes_;
  mutable bool printing_ = false;
};

// The variable `loop`.
class Loop final : public Object {
 public:
  explicit Loop(std::int64_t length) : length_(length) {}
  std::string type_name() const override { return "LoopContext"; }
  std::string representation(Runtime& runtime) const override;
  std::optional<Value> attribute(Runtime& runtime, std::string_view name) const override;
  std::optional<std::int64_t> length() const override { return length_; }
  // Moves to item `index`; undefined stands for a neighbour that is not there.
  void move_to(std::int64_t index, Value previous, Value next);
  // loop.cycle(...) and loop.changed(...).
  const Value& cycle(const Arguments& arguments) const;
  bool changed(Runtime& runtime, const Arguments& arguments);

 private:
  std::int64_t length_;
  std::int64_t index_ = 0;
  Value previous_;
  Value next_;
  std::optional<Value> last_seen_;
};

// raise_exception, strftime_now, range, dict, namespace, cycler and joiner.
std::vector<std::pair<std::string_view, Value>> make_globals(Runtime& runtime);

}  // namespace lockstep::model::jinja
