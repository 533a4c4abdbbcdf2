#include "model/jinja_parser.h"

#include <algorithm>

namespace lockstep::model::jinja {
namespace {

bool is_constant_name(std::string_view name) {
  return name == "true" || name == "True" || name == "false" || name == "False" || name == "none" ||
         name == "None";
}

// Sets a counter for a scope.
class Counter {
 public:
  Counter(int& counter, int value) : counter_(counter), before_(counter) { counter = value; }
  ~Counter() { counter_ = before_; }

 private:
  int& counter_;
  int before_;
};

class Parser : private ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Body parse() {
    Body body = parse_body({});
    reject_unknown_names();
    return body;
  }

 private:
  using Names = std::initializer_list<std::string_view>;

  void expect_block_end() {
    if (peek().kind != TokenKind::kBlockEnd) fail_expected("the end of the tag");
    next();
  }

  // Statements up to a block that starts with one of `ends`, or to the end of the template when
  // there are none. The name that ended it is the next token.
  Body parse_body(Names ends) {
    const Nested nested(*this);
    Body body;
    for (;;) {
      const Position at = peek().at;
      if (peek().kind == TokenKind::kEnd) {
        if (ends.size() > 0) fail_expected("'" + std::string(*ends.begin()) + "'");
        return body;
      }
      const Token token = next();
      if (token.kind == TokenKind::kText) {
        body.push_back({at, Text{token.text}});
      } else if (token.kind == TokenKind::kOutputBegin) {
        body.push_back({at, Output{parse_tuple()}});
        if (peek().kind != TokenKind::kOutputEnd) fail_expected("the end of the tag");
        next();
      } else {
        if (std::any_of(ends.begin(), ends.end(), [&](auto name) { return at_name(name); })) {
          return body;
        }
        body.push_back(parse_statement());
        expect_block_end();
      }
    }
  }

  // The body of a tag: after its head, up to and with the name `end`.
  Body parse_block(std::string_view end) {
    Body body = parse_block_until({end});
    next();
    return body;
  }

  Body parse_block_until(Names ends) {
    take_operator(":");
    expect_block_end();
    return parse_body(ends);
  }

  Stmt parse_statement() {
    const Position at = peek().at;
    if (peek().kind != TokenKind::kName) fail_expected("a tag's name");
    const std::string tag = next().text;
    if (tag == "if") return {at, parse_if()};
    if (tag == "for") return {at, parse_for()};
    if (tag == "set") return parse_set(at);
    if (tag == "macro") return {at, parse_macro()};
    if (tag == "call") return {at, parse_call_block()};
    if (tag == "filter") return {at, parse_filter_block()};
    if (tag == "with") return {at, parse_with()};
    if (tag == "generation") {
      const Counter outside(loops_, 0);
      return {at, Generation{parse_block("endgeneration")}};
    }
    if (tag == "break" || tag == "continue") {
      if (loops_ == 0) fail_at(at, "'" + tag + "' outside of a loop");
      return tag == "break" ? Stmt{at, Break{}} : Stmt{at, Continue{}};
    }
    fail_at(at, "unknown or unsupported tag '" + tag + "'");
  }

  If parse_if() {
    const Counter conditional(conditional_, conditional_ + 1);
    If node;
    for (;;) {
      ExprPtr condition = parse_tuple(false);
      Body body = parse_block_until({"endif", "elif", "else"});
      node.branches.emplace_back(std::move(condition), std::move(body));
      if (take_name("elif")) continue;
      if (take_name("else")) {
        node.otherwise = parse_block("endif");
      } else {
        next();
      }
      return node;
    }
  }

  For parse_for() {
    For node;
    node.target = parse_target(false);
    if (!take_name("in")) fail_expected("'in'");
    node.items = parse_tuple(false);
    if (take_name("if")) node.condition = parse_expression();
    if (at_name("recursive")) fail("recursive loops are not supported");
    {
      const Counter inside(loops_, loops_ + 1);
      node.body = parse_block_until({"endfor", "else"});
    }
    if (next().text == "else") node.otherwise = parse_block("endfor");
    return node;
  }

  Target parse_target(bool with_namespace) {
    Target tuple{peek().at, "", "", {}};
    bool has_comma = false;
    while (!at_target_end()) {
      tuple.items.push_back(parse_target_item(with_namespace));
      if (!take_operator(",")) break;
      has_comma = true;
    }
    if (tuple.items.size() == 1 && !has_comma) {
      Target single = std::move(tuple.items.front());
      return single;
    }
    if (tuple.items.empty()) fail_expected("what to assign to");
    return tuple;
  }

  bool at_target_end() const {
    return peek().kind == TokenKind::kBlockEnd || at_operator(")") || at_operator("=");
  }

  Target parse_target_item(bool with_namespace) {
    const Nested nested(*this);
    if (take_operator("(")) {
      Target inner = parse_target(with_namespace);
      expect_operator(")");
      return inner;
    }
    const Position at = peek().at;
    Target target{at, expect_name(), "", {}};
    if (is_constant_name(target.name)) fail_at(at, "can't assign to '" + target.name + "'");
    if (target.name == "loop" && !with_namespace) {
      fail_at(at, "can't assign to special loop variable in for-loop target");
    }
    if (with_namespace && take_operator(".")) target.attribute = expect_name();
    return target;
  }

  Stmt parse_set(Position at) {
    Target target = parse_target(true);
    if (take_operator("=")) return {at, Set{std::move(target), parse_tuple()}};
    SetBlock node{std::move(target), {}, {}};
    while (take_operator("|")) node.filters.push_back(parse_filter(nullptr));
    node.body = parse_block("endset");
    return {at, std::move(node)};
  }

  std::vector<Parameter> parse_parameters() {
    std::vector<Parameter> parameters;
    expect_operator("(");
    if (take_operator(")")) return parameters;
    do {
      const Position at = peek().at;
      Parameter parameter{expect_name(), nullptr};
      if (is_constant_name(parameter.name)) fail_at(at, "can't assign to '" + parameter.name + "'");
      if (take_operator("=")) {
        parameter.fallback = parse_expression();
      } else if (!parameters.empty() && parameters.back().fallback) {
        fail_at(at, "non-default argument follows default argument");
      }
      parameters.push_back(std::move(parameter));
    } while (take_operator(","));
    expect_operator(")");
    return parameters;
  }

  void parse_macro_body(MacroDefinition& definition, std::string_view end) {
    const Counter outside(loops_, 0);
    macros_.push_back(&definition);
    definition.body = parse_block(end);
    macros_.pop_back();
  }

  Macro parse_macro() {
    Macro node;
    node.definition.name = expect_name();
    node.definition.parameters = parse_parameters();
    parse_macro_body(node.definition, "endmacro");
    return node;
  }

  CallBlock parse_call_block() {
    CallBlock node;
    node.definition.name = "caller";
    if (at_operator("(")) node.definition.parameters = parse_parameters();
    const Position at = peek().at;
    node.call = parse_expression();
    if (!std::holds_alternative<Call>(node.call->node)) fail_at(at, "expected a call");
    parse_macro_body(node.definition, "endcall");
    return node;
  }

  FilterBlock parse_filter_block() {
    FilterBlock node;
    do {
      node.filters.push_back(parse_filter(nullptr));
    } while (take_operator("|"));
    node.body = parse_block("endfilter");
    return node;
  }

  With parse_with() {
    With node;
    while (peek().kind != TokenKind::kBlockEnd) {
      Target target = parse_target_item(false);
      expect_operator("=");
      node.values.emplace_back(std::move(target), parse_expression());
      if (!take_operator(",")) break;
    }
    node.body = parse_block("endwith");
    return node;
  }
};

}  // namespace

Body parse_template(std::string_view source) { return Parser(tokenize(source)).parse(); }

}  // namespace lockstep::model::jinja
