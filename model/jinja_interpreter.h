// Runs a template's syntax tree.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/jinja_ast.h"
#include "model/jinja_runtime.h"

namespace lockstep::model::jinja {

// Names and values of one block, inside those of the block around it. `name`s point into the syntax
// tree or to what the caller of the interpreter keeps.
class Scope {
 public:
  explicit Scope(std::shared_ptr<Scope> parent) : parent_(std::move(parent)) {}
  // nullptr when neither this scope nor one around it has the name.
  const Value* find(Runtime& runtime, std::string_view name) const;
  void set(Runtime& runtime, std::string_view name, Value value);

 private:
  std::shared_ptr<Scope> parent_;
  std::vector<std::pair<std::string_view, Value>> values_;
};

// One render. REQUIRES: the tree and the names of `variables` outlive it.
class Interpreter {
 public:
  Interpreter(Runtime& runtime, std::vector<std::pair<std::string_view, Value>> variables);

  // Throws TemplateError; where() is then the place.
  std::string render(const Body& body);
  Position where() const { return where_; }

  // What calling a macro gives: the text of its body.
  Value call_macro(const MacroDefinition& macro, const std::shared_ptr<Scope>& closure,
                   const Arguments& arguments);

 private:
  enum class Flow { kNormal, kBreak, kContinue };

  // One block or expression deeper; throws TemplateError over kMaxEvaluationDepth. An exception
  // ends the render, so the count need not survive one.
  void enter(Position at);
  void leave() { --depth_; }

  Flow execute(const Body& body);
  Flow execute_in_order(const Body& body);
  Flow execute(const Text& node);
  Flow execute(const Output& node);
  Flow execute(const If& node);
  Flow execute(const For& node);
  Flow execute(const Set& node);
  Flow execute(const SetBlock& node);
  Flow execute(const Macro& node);
  Flow execute(const CallBlock& node);
  Flow execute(const FilterBlock& node);
  Flow execute(const With& node);
  Flow execute(const Generation& node);
  Flow execute(const Break&) { return Flow::kBreak; }
  Flow execute(const Continue&) { return Flow::kContinue; }
  // Whether some pass reached the end of the body.
  bool run_loop(const For& node, const Items& items);
  Items filter_items(const For& node, Items items);
  // The text that `body` writes, in a scope of its own; `flow` tells how it ended.
  std::string capture(const Body& body, Flow& flow);
  void assign(const Target& target, const Value& value);
  void emit(std::string_view text);
  void bind_parameters(const MacroDefinition& macro, Arguments arguments);

  Value evaluate(const Expr& expr);
  Value evaluate(const Literal& node, const Expr&) { return node.value; }
  Value evaluate(const Name& node, const Expr& expr);
  Value evaluate(const ListLiteral& node, const Expr& expr);
  Value evaluate(const TupleLiteral& node, const Expr& expr);
  Value evaluate(const DictLiteral& node, const Expr& expr);
  Value evaluate(const Not& node, const Expr& expr);
  Value evaluate(const Negative& node, const Expr& expr);
  Value evaluate(const Positive& node, const Expr& expr);
  Value evaluate(const And& node, const Expr& expr);
  Value evaluate(const Or& node, const Expr& expr);
  Value evaluate(const Binary& node, const Expr& expr);
  Value evaluate(const Comparison& node, const Expr& expr);
  Value evaluate(const Concatenation& node, const Expr& expr);
  Value evaluate(const Conditional& node, const Expr& expr);
  Value evaluate(const Attribute& node, const Expr& expr);
  Value evaluate(const Subscript& node, const Expr& expr);
  Value evaluate(const Slice& node, const Expr& expr);
  Value evaluate(const Call& node, const Expr& expr);
  Value evaluate(const Filter& node, const Expr& expr);
  Value evaluate(const Test& node, const Expr& expr);
  Items evaluate_all(const std::vector<ExprPtr>& items);
  Value evaluate_or_none(const ExprPtr& expr);
  Arguments evaluate_arguments(const CallArguments& arguments);
  bool compare_once(const Value& left, CompareOp op, const Value& right);
  // `values` of `call` with one more named argument, the body of a call block.
  Value call(const Call& node, const Expr& expr, const Value* caller);
  Value apply_filter(const Filter& node, const Expr& expr, const Value& input);

  Runtime& runtime_;
  std::shared_ptr<Scope> scope_;
  std::string* output_ = nullptr;
  Position where_;
  int depth_ = 0;  // blocks and expressions under evaluation
  int macro_depth_ = 0;
};

}  // namespace lockstep::model::jinja
