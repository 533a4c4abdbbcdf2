#include "model/jinja_lexer.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "model/jinja_limits.h"
#include "model/jinja_text.h"

namespace lockstep::model::jinja {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Newlines become "\n", and one at the very end is dropped, as jinja2 does.
std::string normalize(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
    } else if (i + 1 == source.size() || source[i + 1] != '\n') {
      out += '\n';
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  std::vector<Token> run() {
    while (offset_ < source_.size()) lex_text();
    add(TokenKind::kEnd, "", offset_);
    return std::move(tokens_);
  }

 private:
  // The place of byte `offset`; places are asked for in rising order, so each byte is seen once.
  Position position(std::size_t offset) {
    if (offset < counted_) {
      counted_ = 0;
      place_ = {};
    }
    while (counted_ < offset) {
      if (source_[counted_] == '\n') {
        place_ = {place_.line + 1, 1};
        ++counted_;
      } else {
        ++place_.column;
        counted_ += sequence_bytes(source_[counted_]);
      }
    }
    return place_;
  }

  [[noreturn]] void fail(std::size_t offset, const std::string& message) {
    fail_at(position(offset), message);
  }

  void add(TokenKind kind, std::string text, std::size_t offset) {
    tokens_.push_back({kind, std::move(text), position(offset)});
  }

  bool at(std::string_view wanted) const {
    return std::string_view(source_).substr(offset_).starts_with(wanted);
  }

  std::size_t skip_space(std::size_t offset) const {
    while (offset < source_.size()) {
      std::size_t next = offset;
      if (!is_space(next_code_point(source_, next))) break;
      offset = next;
    }
    return offset;
  }

  // Text up to the next delimiter, and that delimiter with what belongs to it.
  void lex_text() {
    const std::size_t start = offset_;
    std::size_t tag = source_.find('{', start);
    while (tag != std::string::npos && tag + 1 < source_.size() && source_[tag + 1] != '{' &&
           source_[tag + 1] != '%' && source_[tag + 1] != '#') {
      tag = source_.find('{', tag + 1);
    }
    if (tag == std::string::npos || tag + 1 >= source_.size()) {
      add(TokenKind::kText, source_.substr(start), start);
      offset_ = source_.size();
      return;
    }
    const char kind = source_[tag + 1];
    offset_ = tag + 2;
    const char sign = take_sign();
    add_text(start, tag, sign, kind == '{');
    if (kind == '#') {
      lex_comment(tag);
    } else if (kind == '{') {
      lex_expression(tag, TokenKind::kOutputBegin, TokenKind::kOutputEnd);
    } else if (!lex_raw(tag)) {
      lex_expression(tag, TokenKind::kBlockBegin, TokenKind::kBlockEnd);
    }
    line_starting_ = source_[offset_ - 1] == '\n';
  }

  char take_sign() {
    if (offset_ < source_.size() && (source_[offset_] == '-' || source_[offset_] == '+')) {
      return source_[offset_++];
    }
    return 0;
  }

  // Adds source text [start, end) as it stands before a tag: '-' strips all white space, otherwise
  // lstrip_blocks takes the indentation of a tag that is the first on its line.
  void add_text(std::size_t start, std::size_t end, char sign, bool is_output) {
    std::string_view text = std::string_view(source_).substr(start, end - start);
    if (sign == '-') {
      text = strip_text(text, nullptr, false, true);
    } else if (sign != '+' && !is_output) {
      const std::size_t newline = text.rfind('\n');
      const std::size_t line = newline == std::string_view::npos ? 0 : newline + 1;
      const bool blank = text.find_first_not_of(" \t", line) == std::string_view::npos;
      if ((line > 0 || line_starting_) && blank) text = text.substr(0, line);
    }
    if (!text.empty()) add(TokenKind::kText, std::string(text), start);
  }

  // Takes the end of a tag, `close` ("%}") with its sign, and the white space that goes with it.
  bool take_end(std::string_view close, bool trims) {
    if (at("-" + std::string(close))) {
      offset_ = skip_space(offset_ + 1 + close.size());
      return true;
    }
    if (trims && at("+" + std::string(close))) {
      offset_ += 1 + close.size();
      return true;
    }
    if (!at(close)) return false;
    offset_ += close.size();
    if (trims && at("\n")) ++offset_;
    return true;
  }

  void lex_comment(std::size_t tag) {
    std::size_t close = source_.find("#}", offset_);
    if (close == std::string::npos) fail(tag, "Missing end of comment tag");
    if (close > offset_ && (source_[close - 1] == '-' || source_[close - 1] == '+')) --close;
    offset_ = close;
    take_end("#}", true);
  }

  // A {% raw %} block; false, and nothing taken, when this is another block.
  bool lex_raw(std::size_t tag) {
    const std::size_t before = offset_;
    offset_ = skip_space(offset_);
    if (take_word("raw")) {
      offset_ = skip_space(offset_);
      if (take_end("%}", false)) {
        lex_raw_body(tag);
        return true;
      }
    }
    offset_ = before;
    return false;
  }

  bool take_word(std::string_view word) {
    if (!at(word)) return false;
    offset_ += word.size();
    return true;
  }

  void lex_raw_body(std::size_t tag) {
    const std::size_t start = offset_;
    line_starting_ = source_[offset_ - 1] == '\n';
    for (std::size_t open = source_.find("{%", start); open != std::string::npos;
         open = source_.find("{%", open + 1)) {
      offset_ = open + 2;
      const char sign = take_sign();
      offset_ = skip_space(offset_);
      if (!take_word("endraw")) continue;
      offset_ = skip_space(offset_);
      if (!take_end("%}", true)) continue;
      const std::size_t end = offset_;
      add_text(start, open, sign, false);
      offset_ = end;
      return;
    }
    fail(tag, "Missing end of raw directive");
  }

  void lex_expression(std::size_t tag, TokenKind begin, TokenKind end) {
    add(begin, "", tag);
    const bool is_block = begin == TokenKind::kBlockBegin;
    std::string open;  // brackets that wait for their partners
    for (;;) {
      offset_ = skip_space(offset_);
      const std::size_t start = offset_;
      if (open.empty() && take_end(is_block ? "%}" : "}}", is_block)) {
        add(end, "", start);
        return;
      }
      if (offset_ == source_.size()) fail(tag, "the tag is not closed");
      lex_token(open);
    }
  }

  void lex_token(std::string& open) {
    const char c = source_[offset_];
    if (is_digit(c)) {
      lex_number();
    } else if (c == '"' || c == '\'') {
      lex_string(c);
    } else if (std::isalpha(static_cast<unsigned char>(c)) || c == '_' ||
               static_cast<unsigned char>(c) >= 0x80) {
      lex_name();
    } else {
      lex_operator(open);
    }
  }

  // Digits of `base` from `offset` on, single underscores between them allowed.
  std::size_t skip_digits(std::size_t offset, int base) const {
    const auto is_base_digit = [&](std::size_t i) {
      if (i >= source_.size()) return false;
      const char c = static_cast<char>(std::tolower(static_cast<unsigned char>(source_[i])));
      return base == 16 ? is_digit(c) || (c >= 'a' && c <= 'f') : c >= '0' && c < '0' + base;
    };
    while (is_base_digit(offset) ||
           (offset < source_.size() && source_[offset] == '_' && is_base_digit(offset + 1))) {
      ++offset;
    }
    return offset;
  }

  // The end of a float at the current offset, or the offset itself when there is none.
  std::size_t float_end() const {
    if (offset_ > 0 && source_[offset_ - 1] == '.') return offset_;
    const std::size_t whole = skip_digits(offset_, 10);
    std::size_t end = whole;
    if (end + 1 < source_.size() && source_[end] == '.' && is_digit(source_[end + 1])) {
      end = skip_digits(end + 1, 10);
    }
    if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      std::size_t digits = end + 1;
      if (digits < source_.size() && (source_[digits] == '-' || source_[digits] == '+')) ++digits;
      if (digits < source_.size() && is_digit(source_[digits])) end = skip_digits(digits, 10);
    }
    return end == whole ? offset_ : end;
  }

  std::size_t integer_end() const {
    if (source_[offset_] != '0') return skip_digits(offset_, 10);
    if (offset_ + 1 < source_.size()) {
      const char mark =
          static_cast<char>(std::tolower(static_cast<unsigned char>(source_[offset_ + 1])));
      const int base = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
      const std::size_t end = base ? skip_digits(offset_ + 2, base) : 0;
      if (end > offset_ + 2) return end;
    }
    return skip_digits(offset_, 1);
  }

  void lex_number() {
    const std::size_t float_stop = float_end();
    const bool is_float = float_stop > offset_;
    const std::size_t end = is_float ? float_stop : integer_end();
    std::string text = source_.substr(offset_, end - offset_);
    std::erase(text, '_');
    add(is_float ? TokenKind::kFloat : TokenKind::kInteger, std::move(text), offset_);
    offset_ = end;
  }

  void lex_name() {
    const std::size_t start = offset_;
    while (offset_ < source_.size()) {
      std::size_t next = offset_;
      if (!is_word(next_code_point(source_, next))) break;
      offset_ = next;
    }
    if (offset_ == start) fail(start, "unexpected character");
    add(TokenKind::kName, source_.substr(start, offset_ - start), start);
  }

  void lex_operator(std::string& open) {
    constexpr std::array<std::string_view, 6> kPairs = {"//", "**", "==", "!=", ">=", "<="};
    constexpr std::string_view kSingles = "+-/*%~[](){}><=.:|,;";
    const auto pair =
        std::find_if(kPairs.begin(), kPairs.end(), [&](std::string_view p) { return at(p); });
    const std::string text(pair != kPairs.end() ? *pair : source_.substr(offset_, 1));
    if (text.size() == 1 && kSingles.find(text[0]) == std::string_view::npos) {
      fail(offset_, "unexpected char '" + text + "'");
    }
    balance(text[0], open);
    add(TokenKind::kOperator, text, offset_);
    offset_ += text.size();
  }

  void balance(char bracket, std::string& open) {
    if (bracket == '(' || bracket == '[' || bracket == '{') {
      open += bracket == '(' ? ')' : bracket == '[' ? ']' : '}';
    } else if (bracket == ')' || bracket == ']' || bracket == '}') {
      if (open.empty()) fail(offset_, std::string("unexpected '") + bracket + "'");
      if (open.back() != bracket) {
        fail(offset_, std::string("unexpected '") + bracket + "', expected '" + open.back() + "'");
      }
      open.pop_back();
    }
  }

  void lex_string(char quote) {
    const std::size_t start = offset_++;
    std::string text;
    while (offset_ < source_.size() && source_[offset_] != quote) {
      if (source_[offset_] == '\\') {
        lex_escape(text);
      } else {
        text += source_[offset_++];
      }
    }
    if (offset_ >= source_.size()) fail(start, "the string is not closed");
    ++offset_;
    add(TokenKind::kString, std::move(text), start);
  }

  // One escape of a Python string literal; unknown ones stay as they are.
  void lex_escape(std::string& text) {
    constexpr std::string_view kNames = "\\'\"abfnrtv\n";
    constexpr std::array<std::string_view, 11> kValues = {"\\", "'",  "\"", "\a", "\b", "\f",
                                                          "\n", "\r", "\t", "\v", ""};
    if (++offset_ == source_.size()) fail(offset_ - 1, "the string is not closed");
    const char c = source_[offset_];
    const std::size_t known = kNames.find(c);
    if (known != std::string_view::npos) {
      text += kValues[known];
      ++offset_;
    } else if (c == 'x' || c == 'u' || c == 'U') {
      lex_code_point(c == 'x' ? 2 : c == 'u' ? 4 : 8, 16, offset_ + 1, true, text);
    } else if (c >= '0' && c < '8') {
      lex_code_point(3, 8, offset_, false, text);
    } else if (c == 'N') {
      fail(offset_, "\\N{...} escapes are not supported");
    } else {
      text += '\\';
    }
  }

  void lex_code_point(std::size_t digits, int base, std::size_t start, bool exact,
                      std::string& text) {
    char32_t code_point = 0;
    std::size_t end = start;
    for (; end < source_.size() && end < start + digits; ++end) {
      const char c = static_cast<char>(std::tolower(static_cast<unsigned char>(source_[end])));
      const int digit = is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : base;
      if (digit >= base) break;
      code_point = code_point * static_cast<char32_t>(base) + static_cast<char32_t>(digit);
    }
    if (exact && end != start + digits) fail(offset_ - 1, "truncated escape in a string");
    if (code_point > 0x10FFFF || (code_point >= 0xD800 && code_point < 0xE000)) {
      fail(offset_ - 1, "an escape is not a Unicode character");
    }
    append_code_point(code_point, text);
    offset_ = end;
  }

  std::string source_;
  std::size_t offset_ = 0;
  bool line_starting_ = true;  // the last tag ended with a newline, or none came yet
  std::size_t counted_ = 0;    // place_ is the place of this byte
  Position place_;
  std::vector<Token> tokens_;
};

}  // namespace

void fail_at(Position at, const std::string& message) {
  throw Error("chat template, line " + std::to_string(at.line) + ", column " +
              std::to_string(at.column) + ": " + message);
}

std::vector<Token> tokenize(std::string_view source) {
  if (source.size() > kMaxSourceBytes) {
    fail_at({}, "the source has " + std::to_string(source.size()) + " bytes, over the limit of " +
                    std::to_string(kMaxSourceBytes));
  }
  const std::size_t invalid = find_invalid_utf8(source);
  if (invalid != std::string_view::npos) {
    fail_at({}, "the source is not UTF-8 at byte " + std::to_string(invalid));
  }
  return Lexer(normalize(source)).run();
}

}  // namespace lockstep::model::jinja
