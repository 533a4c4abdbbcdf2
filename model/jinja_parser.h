// Tokens to a syntax tree, by the grammar of jinja2 with the loopcontrols extension and Hugging
// Face's generation tag.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/jinja_ast.h"
#include "model/jinja_lexer.h"

namespace lockstep::model::jinja {

// Throws Error with line and column on a syntax error, an unknown tag, a filter or test that does
// not exist, or nesting over kMaxNesting.
Body parse_template(std::string_view source);

// Expressions; the base of the statement parser.
class ExpressionParser {
 public:
  explicit ExpressionParser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

 protected:
  // Counts the nesting of the construct that is being parsed.
  class Nested {
   public:
    explicit Nested(ExpressionParser& parser);
    ~Nested() { --parser_.nesting_; }

   private:
    ExpressionParser& parser_;
  };

  const Token& peek(std::size_t ahead = 0) const;
  Token next();
  bool at_operator(std::string_view text) const;
  bool at_name(std::string_view name) const;
  bool take_operator(std::string_view text);
  bool take_name(std::string_view name);
  void expect_operator(std::string_view text);
  std::string expect_name();
  [[noreturn]] void fail(const std::string& message) const;
  [[noreturn]] void fail_expected(const std::string& what) const;

  ExprPtr parse_expression(bool with_conditional = true);
  // Expressions with commas between them are a tuple, which may be empty inside parentheses.
  ExprPtr parse_tuple(bool with_conditional = true, bool parenthesized = false);
  ExprPtr parse_filter(ExprPtr input);  // after the "|"
  template <class Node>
  ExprPtr make(Position at, Node node) const;
  // Throws for the first filter or test that does not exist and is not behind a condition.
  void reject_unknown_names() const;

  // Flags for the macros around the current token: which special names they use.
  std::vector<MacroDefinition*> macros_;
  // Inside an if, where jinja2 lets unknown filters and tests be.
  int conditional_ = 0;
  int loops_ = 0;  // for loops around the current token, within its macro

 private:
  ExprPtr parse_or();
  ExprPtr parse_and();
  ExprPtr parse_not();
  ExprPtr parse_comparison();
  bool take_compare_operator(CompareOp& op);
  ExprPtr parse_sum();
  ExprPtr parse_concatenation();
  ExprPtr parse_product();
  ExprPtr parse_power();
  ExprPtr parse_unary(bool with_filter = true);
  ExprPtr parse_primary();
  ExprPtr parse_name();
  ExprPtr parse_integer();
  ExprPtr parse_list();
  ExprPtr parse_dict();
  ExprPtr parse_postfix(ExprPtr target);
  ExprPtr parse_subscript(ExprPtr target);
  ExprPtr parse_filters_and_tests(ExprPtr input);
  ExprPtr parse_test(ExprPtr input);
  CallArguments parse_arguments();
  void parse_argument(CallArguments& arguments);
  bool at_tuple_end() const;
  std::string parse_dotted_name();

  std::vector<Token> tokens_;
  std::vector<std::pair<Position, std::string>> unknown_names_;  // with the message for each
  std::size_t index_ = 0;
  int nesting_ = 0;
};

}  // namespace lockstep::model::jinja
