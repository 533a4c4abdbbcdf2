// Expressions of the interpreter.
#include "model/jinja_access.h"
#include "model/jinja_interpreter.h"
#include "model/jinja_limits.h"
#include "model/jinja_print.h"

namespace lockstep::model::jinja {

Value Interpreter::evaluate(const Expr& expr) {
  runtime_.charge(1);
  enter(expr.at);
  Value value = std::visit([&](const auto& node) { return evaluate(node, expr); }, expr.node);
  leave();
  return value;
}

Items Interpreter::evaluate_all(const std::vector<ExprPtr>& items) {
  Items values;
  values.reserve(items.size());
  for (const ExprPtr& item : items) values.push_back(evaluate(*item));
  return values;
}

Value Interpreter::evaluate_or_none(const ExprPtr& expr) {
  return expr ? evaluate(*expr) : Value(None{});
}

Value Interpreter::evaluate(const Name& node, const Expr&) {
  const Value* value = scope_->find(runtime_, node.name);
  return value ? *value : Value::undefined("'" + node.name + "' is undefined");
}

Value Interpreter::evaluate(const ListLiteral& node, const Expr& expr) {
  Items items = evaluate_all(node.items);
  where_ = expr.at;
  return runtime_.list(std::move(items));
}

Value Interpreter::evaluate(const TupleLiteral& node, const Expr& expr) {
  Items items = evaluate_all(node.items);
  where_ = expr.at;
  return runtime_.tuple(std::move(items));
}

Value Interpreter::evaluate(const DictLiteral& node, const Expr& expr) {
  Dict dict;
  for (const auto& [key, value] : node.items) {
    Value evaluated_key = evaluate(*key);
    Value evaluated = evaluate(*value);
    where_ = expr.at;
    runtime_.charge(evaluated_key.weight());
    dict.set(std::move(evaluated_key), std::move(evaluated));
  }
  return runtime_.dict(std::move(dict));
}

Value Interpreter::evaluate(const Not& node, const Expr&) {
  return !evaluate(*node.operand).truthy();
}

Value Interpreter::evaluate(const Negative& node, const Expr& expr) {
  const Value value = evaluate(*node.operand);
  where_ = expr.at;
  return negate(value);
}

Value Interpreter::evaluate(const Positive& node, const Expr& expr) {
  const Value value = evaluate(*node.operand);
  where_ = expr.at;
  return plus(value);
}

Value Interpreter::evaluate(const And& node, const Expr&) {
  Value left = evaluate(*node.left);
  return left.truthy() ? evaluate(*node.right) : left;
}

Value Interpreter::evaluate(const Or& node, const Expr&) {
  Value left = evaluate(*node.left);
  return left.truthy() ? left : evaluate(*node.right);
}

Value Interpreter::evaluate(const Binary& node, const Expr& expr) {
  const Value left = evaluate(*node.left);
  const Value right = evaluate(*node.right);
  where_ = expr.at;
  return apply(runtime_, node.op, left, right);
}

bool Interpreter::compare_once(const Value& left, CompareOp op, const Value& right) {
  if (op == CompareOp::kIn || op == CompareOp::kNotIn) {
    return contains(runtime_, right, left) == (op == CompareOp::kIn);
  }
  runtime_.charge(std::min(left.weight(), right.weight()));
  return compare(left, op, right);
}

Value Interpreter::evaluate(const Comparison& node, const Expr& expr) {
  Value left = evaluate(*node.first);
  for (const auto& [op, operand] : node.rest) {
    Value right = evaluate(*operand);
    where_ = expr.at;
    if (!compare_once(left, op, right)) return false;
    left = std::move(right);
  }
  return true;
}

Value Interpreter::evaluate(const Concatenation& node, const Expr& expr) {
  std::string text;
  for (const ExprPtr& part : node.parts) {
    const Value value = evaluate(*part);
    where_ = expr.at;
    text += to_text(runtime_, value);
    Runtime::check_text_bytes(text.size());
  }
  return runtime_.text(std::move(text));
}

Value Interpreter::evaluate(const Conditional& node, const Expr&) {
  if (evaluate(*node.condition).truthy()) return evaluate(*node.value);
  if (node.otherwise) return evaluate(*node.otherwise);
  return Value::undefined(
      "the inline if-expression evaluated to false and no else section was defined");
}

Value Interpreter::evaluate(const Attribute& node, const Expr& expr) {
  const Value target = evaluate(*node.target);
  where_ = expr.at;
  return get_attribute(runtime_, target, node.name);
}

Value Interpreter::evaluate(const Subscript& node, const Expr& expr) {
  const Value target = evaluate(*node.target);
  const Value index = evaluate(*node.index);
  where_ = expr.at;
  return get_item(runtime_, target, index);
}

Value Interpreter::evaluate(const Slice& node, const Expr& expr) {
  const Value target = evaluate(*node.target);
  const Value start = evaluate_or_none(node.start);
  const Value stop = evaluate_or_none(node.stop);
  const Value step = evaluate_or_none(node.step);
  where_ = expr.at;
  return slice(runtime_, target, start, stop, step);
}

Arguments Interpreter::evaluate_arguments(const CallArguments& arguments) {
  Arguments values;
  values.positional = evaluate_all(arguments.positional);
  for (const auto& [name, expr] : arguments.named) values.named.emplace_back(name, evaluate(*expr));
  if (arguments.spread) {
    for (Value& item : iterate(runtime_, evaluate(*arguments.spread))) {
      values.positional.push_back(std::move(item));
    }
  }
  if (arguments.named_spread) {
    const Value mapping = evaluate(*arguments.named_spread);
    if (!mapping.is_dict()) throw TemplateError("argument after ** must be a mapping");
    for (const auto& [key, value] : mapping.as_dict().entries()) {
      runtime_.charge(key.weight());
      values.named.emplace_back(require_string(key, "a keyword"), value);
    }
  }
  return values;
}

Value Interpreter::evaluate(const Call& node, const Expr& expr) {
  return call(node, expr, nullptr);
}

Value Interpreter::call(const Call& node, const Expr& expr, const Value* caller) {
  const auto* attribute = std::get_if<Attribute>(&node.callee->node);
  // A method that is called at once needs no object of its own.
  const Value self = attribute ? evaluate(*attribute->target) : Value();
  const Function method = attribute ? find_method(self, attribute->name) : nullptr;
  Value callee;
  if (!method) {
    if (attribute) {
      where_ = node.callee->at;
      callee = get_attribute(runtime_, self, attribute->name);
    } else {
      callee = evaluate(*node.callee);
    }
  }
  Arguments arguments = evaluate_arguments(node.arguments);
  if (caller) arguments.named.emplace_back("caller", *caller);
  where_ = expr.at;
  if (method) return invoke(runtime_, method, self, arguments);
  if (callee.is_undefined()) fail_undefined(callee);
  if (!callee.is_object()) {
    throw TemplateError("'" + callee.type_name() + "' object is not callable");
  }
  return callee.as_object()->call(runtime_, arguments);
}

Value Interpreter::apply_filter(const Filter& node, const Expr& expr, const Value& input) {
  const Arguments arguments = evaluate_arguments(node.arguments);
  where_ = expr.at;
  if (!node.function) throw TemplateError("No filter named '" + node.name + "'.");
  return invoke(runtime_, node.function, input, arguments);
}

Value Interpreter::evaluate(const Filter& node, const Expr& expr) {
  return apply_filter(node, expr, evaluate(*node.input));
}

Value Interpreter::evaluate(const Test& node, const Expr& expr) {
  const Value input = evaluate(*node.input);
  const Arguments arguments = evaluate_arguments(node.arguments);
  where_ = expr.at;
  if (!node.function) throw TemplateError("No test named '" + node.name + "'.");
  return invoke(runtime_, node.function, input, arguments);
}

}  // namespace lockstep::model::jinja
