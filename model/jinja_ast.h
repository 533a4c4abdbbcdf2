// The syntax tree of a template. Immutable once parsed, so any number of renders may share it.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "model/jinja_lexer.h"
#include "model/jinja_operators.h"
#include "model/jinja_runtime.h"

namespace lockstep::model::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Literal {
  Value value;
};
struct Name {
  std::string name;
};
struct ListLiteral {
  std::vector<ExprPtr> items;
};
struct TupleLiteral {
  std::vector<ExprPtr> items;
};
struct DictLiteral {
  std::vector<std::pair<ExprPtr, ExprPtr>> items;
};
struct Not {
  ExprPtr operand;
};
struct Negative {
  ExprPtr operand;
};
struct Positive {
  ExprPtr operand;
};
struct And {
  ExprPtr left, right;
};
struct Or {
  ExprPtr left, right;
};
struct Binary {
  BinaryOp op;
  ExprPtr left, right;
};
// a < b < c: every operand is evaluated at most once, and the chain stops at the first false.
struct Comparison {
  ExprPtr first;
  std::vector<std::pair<CompareOp, ExprPtr>> rest;
};
struct Concatenation {
  std::vector<ExprPtr> parts;
};
struct Conditional {
  ExprPtr condition, value, otherwise;
};  // otherwise may be null
struct Attribute {
  ExprPtr target;
  std::string name;
};
struct Subscript {
  ExprPtr target, index;
};
struct Slice {
  ExprPtr target, start, stop, step;
};  // the last three may be null

struct CallArguments {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr spread;        // *values, or null
  ExprPtr named_spread;  // **values, or null
};
struct Call {
  ExprPtr callee;
  CallArguments arguments;
};
// `function` is null for a name that does not exist, which jinja2 accepts where it may not be
// reached. `input` is null in a filter block.
struct Filter {
  ExprPtr input;
  std::string name;
  Function function;
  CallArguments arguments;
};
struct Test {
  ExprPtr input;
  std::string name;
  Function function;
  CallArguments arguments;
};

struct Expr {
  Position at;
  int depth;  // 1 for a leaf
  std::variant<Literal, Name, ListLiteral, TupleLiteral, DictLiteral, Not, Negative, Positive, And,
               Or, Binary, Comparison, Concatenation, Conditional, Attribute, Subscript, Slice,
               Call, Filter, Test>
      node;
};

struct Stmt;
using Body = std::vector<Stmt>;

// What is assigned to: a name, an attribute of a namespace, or a tuple of targets.
struct Target {
  Position at;
  std::string name;       // empty for a tuple
  std::string attribute;  // empty unless `name` is a namespace
  std::vector<Target> items;
};

struct Parameter {
  std::string name;
  ExprPtr fallback;
};  // fallback may be null

// The callable part of a macro or of a call block.
struct MacroDefinition {
  std::string name;
  std::vector<Parameter> parameters;
  Body body;
  bool uses_caller = false;
  bool uses_varargs = false;
  bool uses_kwargs = false;
};

struct Text {
  std::string text;
};
struct Output {
  ExprPtr value;
};
struct If {
  std::vector<std::pair<ExprPtr, Body>> branches;
  Body otherwise;
};
struct For {
  Target target;
  ExprPtr items, condition;
  Body body, otherwise;
};
struct Set {
  Target target;
  ExprPtr value;
};
struct SetBlock {
  Target target;
  std::vector<ExprPtr> filters;
  Body body;
};
struct Macro {
  MacroDefinition definition;
};
struct CallBlock {
  MacroDefinition definition;
  ExprPtr call;
};
struct FilterBlock {
  std::vector<ExprPtr> filters;
  Body body;
};
struct With {
  std::vector<std::pair<Target, ExprPtr>> values;
  Body body;
};
struct Generation {
  Body body;
};  // Hugging Face's mark around what the model writes
struct Break {};
struct Continue {};

struct Stmt {
  Position at;
  std::variant<Text, Output, If, For, Set, SetBlock, Macro, CallBlock, FilterBlock, With,
               Generation, Break, Continue>
      node;
};

}  // namespace lockstep::model::jinja
