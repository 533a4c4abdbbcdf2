// Statements and macros; expressions are in jinja_evaluate.cc.
#include "model/jinja_interpreter.h"

#include <algorithm>

#include "model/jinja_globals.h"
#include "model/jinja_limits.h"
#include "model/jinja_print.h"

namespace lockstep::model::jinja {
namespace {

// A macro with the scope that it was defined in.
class MacroObject final : public Object {
 public:
  MacroObject(Interpreter& interpreter, const MacroDefinition& definition,
              std::shared_ptr<Scope> closure)
      : interpreter_(interpreter), definition_(definition), closure_(std::move(closure)) {}
  std::string type_name() const override { return "Macro"; }
  std::string representation(Runtime&) const override {
    return "<Macro " + string_repr(definition_.name) + ">";
  }
  std::optional<Value> attribute(Runtime&, std::string_view name) const override {
    if (name == "name") return Value(definition_.name);
    return std::nullopt;
  }
  bool callable() const override { return true; }
  Value call(Runtime&, const Arguments& arguments) override {
    return interpreter_.call_macro(definition_, closure_, arguments);
  }

 private:
  Interpreter& interpreter_;
  const MacroDefinition& definition_;
  std::shared_ptr<Scope> closure_;
};

// Gives a member another value until the end of a block.
template <class T>
class Restored {
 public:
  Restored(T& member, T value)
      : member_(member), before_(std::exchange(member, std::move(value))) {}
  ~Restored() { member_ = std::move(before_); }

 private:
  T& member_;
  T before_;
};

// Removes and returns the named argument `name`.
std::optional<Value> take_named(Arguments& arguments, std::string_view name) {
  const auto at = std::find_if(arguments.named.begin(), arguments.named.end(),
                               [&](const auto& item) { return item.first == name; });
  if (at == arguments.named.end()) return std::nullopt;
  Value value = std::move(at->second);
  arguments.named.erase(at);
  return value;
}

// Charges for comparing `name` with `count` names.
void charge_names(Runtime& runtime, std::size_t count, std::string_view name) {
  runtime.charge(count * (1 + name.size() / kBytesPerStep) / kNamesPerStep);
}

}  // namespace

const Value* Scope::find(Runtime& runtime, std::string_view name) const {
  std::size_t passed = 0;
  for (const Scope* scope = this; scope; scope = scope->parent_.get()) {
    passed += 1 + scope->values_.size();
    for (const auto& [known, value] : scope->values_) {
      if (known != name) continue;
      charge_names(runtime, passed, name);
      return &value;
    }
  }
  charge_names(runtime, passed, name);
  return nullptr;
}

void Scope::set(Runtime& runtime, std::string_view name, Value value) {
  charge_names(runtime, values_.size(), name);
  for (auto& [known, current] : values_) {
    if (known == name) {
      current = std::move(value);
      return;
    }
  }
  values_.emplace_back(name, std::move(value));
}

Interpreter::Interpreter(Runtime& runtime,
                         std::vector<std::pair<std::string_view, Value>> variables)
    : runtime_(runtime), scope_(std::make_shared<Scope>(nullptr)) {
  for (auto& [name, value] : make_globals(runtime)) scope_->set(runtime_, name, std::move(value));
  for (auto& [name, value] : variables) scope_->set(runtime_, name, std::move(value));
}

std::string Interpreter::render(const Body& body) {
  std::string text;
  output_ = &text;
  execute(body);
  return text;
}

void Interpreter::emit(std::string_view text) {
  Runtime::check_text_bytes(output_->size() + text.size());
  runtime_.charge(text.size() / kBytesPerStep);
  *output_ += text;
}

void Interpreter::enter(Position at) {
  if (depth_ == kMaxEvaluationDepth) {
    where_ = at;
    throw TemplateError("evaluation nests deeper than the limit of " +
                        std::to_string(kMaxEvaluationDepth));
  }
  ++depth_;
}

Interpreter::Flow Interpreter::execute(const Body& body) {
  if (body.empty()) return Flow::kNormal;
  enter(body.front().at);
  const Flow flow = execute_in_order(body);
  leave();
  return flow;
}

Interpreter::Flow Interpreter::execute_in_order(const Body& body) {
  for (const Stmt& stmt : body) {
    runtime_.charge(1);
    where_ = stmt.at;
    const Flow flow = std::visit([&](const auto& node) { return execute(node); }, stmt.node);
    if (flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::execute(const Text& node) {
  emit(node.text);
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::execute(const Output& node) {
  const Value value = evaluate(*node.value);
  if (value.is_string()) {
    emit(value.as_string());
  } else {
    emit(to_text(runtime_, value));
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::execute(const If& node) {
  for (const auto& [condition, body] : node.branches) {
    if (evaluate(*condition).truthy()) return execute(body);
  }
  return execute(node.otherwise);
}

Items Interpreter::filter_items(const For& node, Items items) {
  Items kept;
  const Restored scope(scope_, std::make_shared<Scope>(scope_));
  for (Value& item : items) {
    assign(node.target, item);
    if (evaluate(*node.condition).truthy()) kept.push_back(std::move(item));
  }
  return kept;
}

Interpreter::Flow Interpreter::execute(const For& node) {
  const Value source = evaluate(*node.items);
  where_ = node.items->at;
  Items items = iterate(runtime_, source);
  if (node.condition) items = filter_items(node, std::move(items));
  // As in jinja2, where break and continue skip what marks the loop as not empty.
  return run_loop(node, items) ? Flow::kNormal : execute(node.otherwise);
}

bool Interpreter::run_loop(const For& node, const Items& items) {
  Loop* loop = runtime_.make<Loop>(static_cast<std::int64_t>(items.size()));
  const std::shared_ptr<Scope> outer = scope_;
  Flow flow = Flow::kNormal;
  bool completed = false;
  for (std::size_t i = 0; i < items.size() && flow != Flow::kBreak; ++i) {
    runtime_.charge(1);
    const Restored scope(scope_, std::make_shared<Scope>(outer));
    loop->move_to(static_cast<std::int64_t>(i),
                  i > 0 ? items[i - 1] : Value::undefined("there is no previous item"),
                  i + 1 < items.size() ? items[i + 1] : Value::undefined("there is no next item"));
    scope_->set(runtime_, "loop", loop);
    assign(node.target, items[i]);
    flow = execute(node.body);
    completed |= flow == Flow::kNormal;
  }
  return completed;
}

Interpreter::Flow Interpreter::execute(const Set& node) {
  const Value value = evaluate(*node.value);
  assign(node.target, value);
  return Flow::kNormal;
}

std::string Interpreter::capture(const Body& body, Flow& flow) {
  std::string text;
  const Restored output(output_, &text);
  const Restored scope(scope_, std::make_shared<Scope>(scope_));
  flow = execute(body);
  return text;
}

Interpreter::Flow Interpreter::execute(const SetBlock& node) {
  Flow flow;
  Value value = runtime_.text(capture(node.body, flow));
  if (flow != Flow::kNormal) return flow;
  for (const ExprPtr& filter : node.filters) {
    value = apply_filter(std::get<Filter>(filter->node), *filter, value);
  }
  assign(node.target, value);
  return flow;
}

Interpreter::Flow Interpreter::execute(const FilterBlock& node) {
  Flow flow;
  Value value = runtime_.text(capture(node.body, flow));
  if (flow != Flow::kNormal) return flow;
  for (const ExprPtr& filter : node.filters) {
    value = apply_filter(std::get<Filter>(filter->node), *filter, value);
  }
  emit(to_text(runtime_, value));
  return flow;
}

Interpreter::Flow Interpreter::execute(const Macro& node) {
  scope_->set(runtime_, node.definition.name,
              runtime_.make<MacroObject>(*this, node.definition, scope_));
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::execute(const CallBlock& node) {
  const Value caller = runtime_.make<MacroObject>(*this, node.definition, scope_);
  const Value result = call(std::get<Call>(node.call->node), *node.call, &caller);
  emit(to_text(runtime_, result));
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::execute(const With& node) {
  auto inner = std::make_shared<Scope>(scope_);
  for (const auto& [target, expr] : node.values) inner->set(runtime_, target.name, evaluate(*expr));
  const Restored scope(scope_, std::move(inner));
  return execute(node.body);
}

Interpreter::Flow Interpreter::execute(const Generation& node) {
  const Restored scope(scope_, std::make_shared<Scope>(scope_));
  return execute(node.body);
}

void Interpreter::assign(const Target& target, const Value& value) {
  if (target.name.empty()) {
    where_ = target.at;
    const Items items = iterate(runtime_, value);
    if (items.size() != target.items.size()) {
      throw TemplateError("expected " + std::to_string(target.items.size()) +
                          " values to unpack, got " + std::to_string(items.size()));
    }
    for (std::size_t i = 0; i < items.size(); ++i) assign(target.items[i], items[i]);
  } else if (target.attribute.empty()) {
    scope_->set(runtime_, target.name, value);
  } else {
    where_ = target.at;
    const Value* found = scope_->find(runtime_, target.name);
    auto* object =
        found && found->is_object() ? dynamic_cast<Namespace*>(found->as_object()) : nullptr;
    if (!object) throw TemplateError("cannot assign attribute on non-namespace object");
    object->set(target.attribute, value);
  }
}

Value Interpreter::call_macro(const MacroDefinition& macro, const std::shared_ptr<Scope>& closure,
                              const Arguments& arguments) {
  if (macro_depth_ == kMaxNesting) {
    throw TemplateError("macro calls nest deeper than the limit of " + std::to_string(kMaxNesting));
  }
  const Restored depth(macro_depth_, macro_depth_ + 1);
  const Restored scope(scope_, std::make_shared<Scope>(closure));
  std::string text;
  const Restored output(output_, &text);
  bind_parameters(macro, arguments);
  execute(macro.body);
  return runtime_.text(std::move(text));
}

void Interpreter::bind_parameters(const MacroDefinition& macro, Arguments arguments) {
  if (macro.uses_caller) {
    scope_->set(runtime_, "caller",
                take_named(arguments, "caller").value_or(Value::undefined("No caller defined")));
  }
  for (std::size_t i = 0; i < macro.parameters.size(); ++i) {
    const Parameter& parameter = macro.parameters[i];
    std::optional<Value> value;
    if (i < arguments.positional.size()) {
      value = arguments.positional[i];
    } else {
      value = take_named(arguments, parameter.name);
    }
    if (!value && parameter.fallback) value = evaluate(*parameter.fallback);
    scope_->set(
        runtime_, parameter.name,
        value.value_or(Value::undefined("parameter '" + parameter.name + "' was not provided")));
  }
  const std::size_t taken = std::min(macro.parameters.size(), arguments.positional.size());
  if (macro.uses_kwargs) {
    Dict named;
    for (auto& [name, value] : arguments.named) named.set(Value(name), std::move(value));
    scope_->set(runtime_, "kwargs", runtime_.dict(std::move(named)));
  } else if (!arguments.named.empty()) {
    throw TemplateError("macro '" + macro.name + "' takes no keyword argument '" +
                        arguments.named.front().first + "'");
  }
  if (macro.uses_varargs) {
    Items rest(arguments.positional.begin() + static_cast<std::ptrdiff_t>(taken),
               arguments.positional.end());
    scope_->set(runtime_, "varargs", runtime_.tuple(std::move(rest)));
  } else if (taken < arguments.positional.size()) {
    throw TemplateError("macro '" + macro.name + "' takes not more than " +
                        std::to_string(macro.parameters.size()) + " argument(s)");
  }
}

}  // namespace lockstep::model::jinja
