// Template source to tokens, with trim_blocks and lstrip_blocks on.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace lockstep::model::jinja {

// A place in the source, both counted from 1; columns count code points.
struct Position {
  int line = 1;
  int column = 1;
};

// Throws Error: "chat template, line 3, column 5: <message>".
[[noreturn]] void fail_at(Position at, const std::string& message);

enum class TokenKind {
  kText,  // outside of all delimiters, white space already trimmed
  kOutputBegin,
  kOutputEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,  // text: escapes already resolved
  kInteger,
  kFloat,  // text of a number: as written, without underscores
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind;
  std::string text;
  Position at;
};

// Tokens of `source`, the last one kEnd. Throws Error with line and column, also when the source is
// over kMaxSourceBytes or not UTF-8.
std::vector<Token> tokenize(std::string_view source);

}  // namespace lockstep::model::jinja
