#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>

#include "model/jinja_filters.h"
#include "model/jinja_limits.h"
#include "model/jinja_parser.h"

namespace lockstep::model::jinja {
namespace {

// The depth of the deepest expression directly inside a node.
class ChildDepth {
 public:
  int deepest = 0;

  void operator()(const Literal&) {}
  void operator()(const Name&) {}
  void operator()(const ListLiteral& n) { see(n.items); }
  void operator()(const TupleLiteral& n) { see(n.items); }
  void operator()(const Concatenation& n) { see(n.parts); }
  void operator()(const Not& n) { see(n.operand); }
  void operator()(const Negative& n) { see(n.operand); }
  void operator()(const Positive& n) { see(n.operand); }
  void operator()(const And& n) { see(n.left), see(n.right); }
  void operator()(const Or& n) { see(n.left), see(n.right); }
  void operator()(const Binary& n) { see(n.left), see(n.right); }
  void operator()(const Attribute& n) { see(n.target); }
  void operator()(const Subscript& n) { see(n.target), see(n.index); }
  void operator()(const Conditional& n) { see(n.condition), see(n.value), see(n.otherwise); }
  void operator()(const Slice& n) { see(n.target), see(n.start), see(n.stop), see(n.step); }
  void operator()(const Call& n) { see(n.callee), see(n.arguments); }
  void operator()(const Filter& n) { see(n.input), see(n.arguments); }
  void operator()(const Test& n) { see(n.input), see(n.arguments); }
  void operator()(const DictLiteral& n) {
    for (const auto& [key, value] : n.items) see(key), see(value);
  }
  void operator()(const Comparison& n) {
    see(n.first);
    for (const auto& [op, operand] : n.rest) see(operand);
  }

 private:
  void see(const ExprPtr& child) {
    if (child) deepest = std::max(deepest, child->depth);
  }
  void see(const std::vector<ExprPtr>& children) {
    for (const ExprPtr& child : children) see(child);
  }
  void see(const CallArguments& arguments) {
    see(arguments.positional);
    for (const auto& [name, value] : arguments.named) see(value);
    see(arguments.spread);
    see(arguments.named_spread);
  }
};

}  // namespace

ExpressionParser::Nested::Nested(ExpressionParser& parser) : parser_(parser) {
  if (++parser_.nesting_ > kMaxNesting) {
    parser_.fail("nesting is deeper than the limit of " + std::to_string(kMaxNesting));
  }
}

template <class Node>
ExprPtr ExpressionParser::make(Position at, Node node) const {
  ChildDepth depth;
  depth(node);
  if (depth.deepest >= kMaxNesting) {
    fail_at(at, "the expression is nested deeper than the limit of " + std::to_string(kMaxNesting));
  }
  return std::make_unique<Expr>(Expr{at, depth.deepest + 1, std::move(node)});
}

void ExpressionParser::reject_unknown_names() const {
  if (!unknown_names_.empty()) fail_at(unknown_names_[0].first, unknown_names_[0].second);
}

const Token& ExpressionParser::peek(std::size_t ahead) const {
  return tokens_[std::min(index_ + ahead, tokens_.size() - 1)];
}

Token ExpressionParser::next() {
  Token token = peek();
  if (index_ + 1 < tokens_.size()) ++index_;
  return token;
}

bool ExpressionParser::at_operator(std::string_view text) const {
  return peek().kind == TokenKind::kOperator && peek().text == text;
}

bool ExpressionParser::at_name(std::string_view name) const {
  return peek().kind == TokenKind::kName && peek().text == name;
}

bool ExpressionParser::take_operator(std::string_view text) {
  if (!at_operator(text)) return false;
  ++index_;
  return true;
}

bool ExpressionParser::take_name(std::string_view name) {
  if (!at_name(name)) return false;
  ++index_;
  return true;
}

void ExpressionParser::expect_operator(std::string_view text) {
  if (!take_operator(text)) fail_expected("'" + std::string(text) + "'");
}

std::string ExpressionParser::expect_name() {
  if (peek().kind != TokenKind::kName) fail_expected("a name");
  return next().text;
}

void ExpressionParser::fail(const std::string& message) const { fail_at(peek().at, message); }

void ExpressionParser::fail_expected(const std::string& what) const {
  switch (peek().kind) {
    case TokenKind::kEnd: fail("expected " + what + ", got the end of the template");
    case TokenKind::kOutputEnd:
    case TokenKind::kBlockEnd: fail("expected " + what + ", got the end of the tag");
    default: fail("expected " + what + ", got '" + peek().text + "'");
  }
}

ExprPtr ExpressionParser::parse_expression(bool with_conditional) {
  const Nested nested(*this);
  if (!with_conditional) return parse_or();
  const Position at = peek().at;
  const std::size_t unknown_before = unknown_names_.size();
  ExprPtr value = parse_or();
  while (take_name("if")) {
    Conditional node;
    node.condition = parse_or();
    node.value = std::move(value);
    if (take_name("else")) node.otherwise = parse_expression();
    value = make(at, std::move(node));
    unknown_names_.resize(unknown_before);
  }
  return value;
}

bool ExpressionParser::at_tuple_end() const {
  const TokenKind kind = peek().kind;
  return kind == TokenKind::kOutputEnd || kind == TokenKind::kBlockEnd || at_operator(")");
}

ExprPtr ExpressionParser::parse_tuple(bool with_conditional, bool parenthesized) {
  const Position at = peek().at;
  TupleLiteral tuple;
  bool has_comma = false;
  while (!at_tuple_end()) {
    tuple.items.push_back(parse_expression(with_conditional));
    if (!take_operator(",")) break;
    has_comma = true;
  }
  if (!has_comma && !tuple.items.empty()) return std::move(tuple.items.front());
  if (!has_comma && !parenthesized) fail_expected("an expression");
  return make(at, std::move(tuple));
}

ExprPtr ExpressionParser::parse_or() {
  const Position at = peek().at;
  ExprPtr left = parse_and();
  while (take_name("or")) {
    ExprPtr right = parse_and();
    left = make(at, Or{std::move(left), std::move(right)});
  }
  return left;
}

ExprPtr ExpressionParser::parse_and() {
  const Position at = peek().at;
  ExprPtr left = parse_not();
  while (take_name("and")) {
    ExprPtr right = parse_not();
    left = make(at, And{std::move(left), std::move(right)});
  }
  return left;
}

ExprPtr ExpressionParser::parse_not() {
  const Position at = peek().at;
  if (!take_name("not")) return parse_comparison();
  const Nested nested(*this);
  return make(at, Not{parse_not()});
}

bool ExpressionParser::take_compare_operator(CompareOp& op) {
  constexpr std::array<CompareOp, 6> kSymbols = {CompareOp::kEqual,   CompareOp::kNotEqual,
                                                 CompareOp::kLess,    CompareOp::kLessEqual,
                                                 CompareOp::kGreater, CompareOp::kGreaterEqual};
  for (const CompareOp candidate : kSymbols) {
    if (take_operator(symbol(candidate))) {
      op = candidate;
      return true;
    }
  }
  if (take_name("in")) {
    op = CompareOp::kIn;
    return true;
  }
  if (at_name("not") && peek(1).kind == TokenKind::kName && peek(1).text == "in") {
    index_ += 2;
    op = CompareOp::kNotIn;
    return true;
  }
  return false;
}

ExprPtr ExpressionParser::parse_comparison() {
  const Position at = peek().at;
  ExprPtr first = parse_sum();
  Comparison comparison;
  CompareOp op;
  while (take_compare_operator(op)) comparison.rest.emplace_back(op, parse_sum());
  if (comparison.rest.empty()) return first;
  comparison.first = std::move(first);
  return make(at, std::move(comparison));
}

ExprPtr ExpressionParser::parse_sum() {
  ExprPtr left = parse_concatenation();
  for (;;) {
    const Position at = peek().at;
    BinaryOp op;
    if (take_operator("+"))
      op = BinaryOp::kAdd;
    else if (take_operator("-"))
      op = BinaryOp::kSubtract;
    else
      return left;
    ExprPtr right = parse_concatenation();
    left = make(at, Binary{op, std::move(left), std::move(right)});
  }
}

ExprPtr ExpressionParser::parse_concatenation() {
  const Position at = peek().at;
  Concatenation concatenation;
  do {
    concatenation.parts.push_back(parse_product());
  } while (take_operator("~"));
  if (concatenation.parts.size() == 1) return std::move(concatenation.parts.front());
  return make(at, std::move(concatenation));
}

ExprPtr ExpressionParser::parse_product() {
  ExprPtr left = parse_power();
  for (;;) {
    const Position at = peek().at;
    BinaryOp op;
    if (take_operator("*"))
      op = BinaryOp::kMultiply;
    else if (take_operator("//"))
      op = BinaryOp::kFloorDivide;
    else if (take_operator("/"))
      op = BinaryOp::kDivide;
    else if (take_operator("%"))
      op = BinaryOp::kModulo;
    else
      return left;
    ExprPtr right = parse_power();
    left = make(at, Binary{op, std::move(left), std::move(right)});
  }
}

ExprPtr ExpressionParser::parse_power() {
  ExprPtr left = parse_unary();
  while (at_operator("**")) {
    const Position at = next().at;
    ExprPtr right = parse_unary();
    left = make(at, Binary{BinaryOp::kPower, std::move(left), std::move(right)});
  }
  return left;
}

ExprPtr ExpressionParser::parse_unary(bool with_filter) {
  const Position at = peek().at;
  ExprPtr value;
  if (take_operator("-")) {
    const Nested nested(*this);
    value = make(at, Negative{parse_unary(false)});
  } else if (take_operator("+")) {
    const Nested nested(*this);
    value = make(at, Positive{parse_unary(false)});
  } else {
    value = parse_primary();
  }
  value = parse_postfix(std::move(value));
  return with_filter ? parse_filters_and_tests(std::move(value)) : std::move(value);
}

ExprPtr ExpressionParser::parse_primary() {
  const Position at = peek().at;
  switch (peek().kind) {
    case TokenKind::kName: return parse_name();
    case TokenKind::kInteger: return parse_integer();
    case TokenKind::kFloat: return make(at, Literal{std::strtod(next().text.c_str(), nullptr)});
    case TokenKind::kString: {
      std::string text;
      while (peek().kind == TokenKind::kString) text += next().text;
      return make(at, Literal{std::move(text)});
    }
    default: break;
  }
  if (at_operator("[")) return parse_list();
  if (at_operator("{")) return parse_dict();
  if (!take_operator("(")) fail_expected("an expression");
  ExprPtr tuple = parse_tuple(true, true);
  expect_operator(")");
  return tuple;
}

ExprPtr ExpressionParser::parse_name() {
  Token token = next();
  if (token.text == "true" || token.text == "True") return make(token.at, Literal{true});
  if (token.text == "false" || token.text == "False") return make(token.at, Literal{false});
  if (token.text == "none" || token.text == "None") return make(token.at, Literal{None{}});
  for (MacroDefinition* macro : macros_) {
    macro->uses_caller |= token.text == "caller";
    macro->uses_varargs |= token.text == "varargs";
    macro->uses_kwargs |= token.text == "kwargs";
  }
  return make(token.at, Name{std::move(token.text)});
}

ExprPtr ExpressionParser::parse_integer() {
  const Token token = next();
  std::string_view digits = token.text;
  int base = 10;
  if (digits.size() > 2 && digits[0] == '0' &&
      !std::isdigit(static_cast<unsigned char>(digits[1]))) {
    const int mark = std::tolower(static_cast<unsigned char>(digits[1]));
    base = mark == 'x' ? 16 : mark == 'o' ? 8 : 2;
    digits.remove_prefix(2);
  }
  std::int64_t value = 0;
  if (std::from_chars(digits.data(), digits.data() + digits.size(), value, base).ec !=
      std::errc()) {
    fail_at(token.at, "an integer exceeds 64 bits signed");
  }
  return make(token.at, Literal{value});
}

ExprPtr ExpressionParser::parse_list() {
  const Position at = next().at;
  ListLiteral list;
  while (!at_operator("]")) {
    list.items.push_back(parse_expression());
    if (!take_operator(",")) break;
  }
  expect_operator("]");
  return make(at, std::move(list));
}

ExprPtr ExpressionParser::parse_dict() {
  const Position at = next().at;
  DictLiteral dict;
  while (!at_operator("}")) {
    ExprPtr key = parse_expression();
    expect_operator(":");
    dict.items.emplace_back(std::move(key), parse_expression());
    if (!take_operator(",")) break;
  }
  expect_operator("}");
  return make(at, std::move(dict));
}

ExprPtr ExpressionParser::parse_postfix(ExprPtr target) {
  for (;;) {
    const Position at = peek().at;
    if (take_operator(".")) {
      if (peek().kind == TokenKind::kInteger) {
        ExprPtr index = parse_integer();
        target = make(at, Subscript{std::move(target), std::move(index)});
      } else {
        target = make(at, Attribute{std::move(target), expect_name()});
      }
    } else if (at_operator("[")) {
      target = parse_subscript(std::move(target));
    } else if (at_operator("(")) {
      target = make(at, Call{std::move(target), parse_arguments()});
    } else {
      return target;
    }
  }
}

ExprPtr ExpressionParser::parse_subscript(ExprPtr target) {
  const Position at = next().at;
  const auto part = [&]() -> ExprPtr {
    return at_operator(":") || at_operator("]") ? nullptr : parse_expression();
  };
  ExprPtr first = part();
  ExprPtr result;
  if (take_operator(":")) {
    Slice node;
    node.start = std::move(first);
    node.stop = part();
    if (take_operator(":")) node.step = part();
    node.target = std::move(target);
    result = make(at, std::move(node));
  } else {
    TupleLiteral indices;
    const bool single = first && !at_operator(",");
    if (first) indices.items.push_back(std::move(first));
    while (take_operator(",")) indices.items.push_back(parse_expression());
    ExprPtr index = single ? std::move(indices.items.front()) : make(at, std::move(indices));
    result = make(at, Subscript{std::move(target), std::move(index)});
  }
  expect_operator("]");
  return result;
}

ExprPtr ExpressionParser::parse_filters_and_tests(ExprPtr input) {
  for (;;) {
    const Position at = peek().at;
    if (take_operator("|")) {
      input = parse_filter(std::move(input));
    } else if (take_name("is")) {
      input = parse_test(std::move(input));
    } else if (at_operator("(")) {
      input = make(at, Call{std::move(input), parse_arguments()});
    } else {
      return input;
    }
  }
}

std::string ExpressionParser::parse_dotted_name() {
  std::string name = expect_name();
  while (take_operator(".")) name += "." + expect_name();
  return name;
}

ExprPtr ExpressionParser::parse_filter(ExprPtr input) {
  const Position at = peek().at;
  Filter filter;
  filter.name = parse_dotted_name();
  filter.function = find_filter(filter.name);
  if (!filter.function && conditional_ == 0) {
    unknown_names_.emplace_back(at, "No filter named '" + filter.name + "'.");
  }
  if (at_operator("(")) filter.arguments = parse_arguments();
  filter.input = std::move(input);
  return make(at, std::move(filter));
}

ExprPtr ExpressionParser::parse_test(ExprPtr input) {
  const Position at = peek().at;
  const bool negated = take_name("not");
  Test test;
  test.name = parse_dotted_name();
  test.function = find_test(test.name);
  if (!test.function && conditional_ == 0) {
    unknown_names_.emplace_back(at, "No test named '" + test.name + "'.");
  }
  const TokenKind kind = peek().kind;
  if (at_operator("(")) {
    test.arguments = parse_arguments();
  } else if (at_operator("[") || at_operator("{") || kind == TokenKind::kString ||
             kind == TokenKind::kInteger || kind == TokenKind::kFloat ||
             (kind == TokenKind::kName && !at_name("else") && !at_name("or") && !at_name("and"))) {
    if (at_name("is")) fail("You cannot chain multiple tests with is");
    test.arguments.positional.push_back(parse_postfix(parse_primary()));
  }
  test.input = std::move(input);
  ExprPtr result = make(at, std::move(test));
  return negated ? make(at, Not{std::move(result)}) : std::move(result);
}

CallArguments ExpressionParser::parse_arguments() {
  expect_operator("(");
  CallArguments arguments;
  while (!at_operator(")")) {
    parse_argument(arguments);
    if (!take_operator(",")) break;
  }
  expect_operator(")");
  return arguments;
}

void ExpressionParser::parse_argument(CallArguments& arguments) {
  const auto require = [&](bool in_order) {
    if (!in_order) fail("invalid syntax for function call expression");
  };
  const Token& after = peek(1);
  if (at_operator("*")) {
    require(!arguments.spread && !arguments.named_spread);
    next();
    arguments.spread = parse_expression();
  } else if (at_operator("**")) {
    require(!arguments.named_spread);
    next();
    arguments.named_spread = parse_expression();
  } else if (peek().kind == TokenKind::kName && after.kind == TokenKind::kOperator &&
             after.text == "=") {
    require(!arguments.named_spread);
    std::string name = next().text;
    next();
    arguments.named.emplace_back(std::move(name), parse_expression());
  } else {
    require(!arguments.spread && !arguments.named_spread && arguments.named.empty());
    arguments.positional.push_back(parse_expression());
  }
}

}  // namespace lockstep::model::jinja
