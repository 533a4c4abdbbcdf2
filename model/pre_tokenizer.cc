#define PCRE2_CODE_UNIT_WIDTH 8
#include "model/pre_tokenizer.h"

#include <pcre2.h>

#include <algorithm>
#include <cstdint>

#include "base/error.h"

namespace lockstep::model {
namespace {

struct NamedPattern {
  std::string_view name;
  std::string_view pattern;  // PCRE2; <S> stands for the members of kWhiteSpace
};

// Hugging Face runs its patterns on Oniguruma, where \s is Unicode's White_Space. PCRE2's \s has
// U+180E as well, so the class is spelled out.
constexpr std::string_view kWhiteSpace =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";

// Every pattern matches at every position of every text: what no other branch takes is white space.
constexpr NamedPattern kPatterns[] = {
    // openai/gpt-2, src/encoder.py; Hugging Face's ByteLevel.
    {"gpt2", R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^<S>\p{L}\p{N}]+)"
             R"(|[<S>]+(?![^<S>])|[<S>]+)"},
    // Digits(individual_digits=true), then ByteLevel on each piece. Digits cuts around every \p{N},
    // so a number never takes the space before it, and white space that a number follows is at the
    // end of its piece, where the look-ahead lets it go whole.
    {"smollm", R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^<S>\p{L}\p{N}]+)"
               R"(|[<S>]+(?![^<S>\p{N}])|[<S>]+)"},
    // The Split pattern in tokenizer.json of meta-llama/Meta-Llama-3-8B.
    {"llama3", R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})"
               R"(| ?[^<S>\p{L}\p{N}]+[\r\n]*|[<S>]*[\r\n]+|[<S>]+(?![^<S>])|[<S>]+)"},
};

std::string_view find_pattern(std::string_view name, const std::string& path) {
  std::string known;
  for (const NamedPattern& entry : kPatterns) {
    if (entry.name == name) return entry.pattern;
    known.append(known.empty() ? "" : ", ").append(entry.name);
  }
  throw Error(path + ": unknown pre-tokenizer \"" + std::string(name) + "\"; known are " + known);
}

std::string expand_white_space(std::string_view pattern) {
  constexpr std::string_view kPlaceholder = "<S>";
  std::string expanded(pattern);
  for (std::size_t at = 0; (at = expanded.find(kPlaceholder, at)) != std::string::npos;) {
    expanded.replace(at, kPlaceholder.size(), kWhiteSpace);
    at += kWhiteSpace.size();
  }
  return expanded;
}

std::string describe_error(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof(buffer));
  return reinterpret_cast<const char*>(buffer);
}

struct FreeMatchData {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

struct FreeMatchContext {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

}  // namespace

void PreTokenizer::FreeCode::operator()(pcre2_real_code_8* code) const { pcre2_code_free(code); }

PreTokenizer::PreTokenizer(std::string_view name, const std::string& path) : name_(name) {
  const std::string pattern = expand_white_space(find_pattern(name, path));
  int error = 0;
  PCRE2_SIZE offset = 0;
  code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                            PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &error, &offset, nullptr));
  if (!code_) throw Error("pre-tokenizer " + name_ + ": " + describe_error(error));
  // Where this PCRE2 cannot compile to machine code, its interpreter finds the same pieces.
  const int jit = pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);
  if (jit != 0 && jit != PCRE2_ERROR_JIT_BADOPTION) {
    throw Error("pre-tokenizer " + name_ + ": " + describe_error(jit));
  }
}

void PreTokenizer::split(std::string_view text, std::vector<std::string_view>& pieces) const {
  const std::unique_ptr<pcre2_match_data, FreeMatchData> match(pcre2_match_data_create(1, nullptr));
  const std::unique_ptr<pcre2_match_context, FreeMatchContext> context(
      pcre2_match_context_create(nullptr));
  if (!match || !context) throw Error("pre-tokenizer " + name_ + ": out of memory");
  // The patterns backtrack at most once or twice for each character of white space; more would be a
  // fault in the table above, and is stopped here before it can take quadratic time.
  pcre2_set_match_limit(context.get(), static_cast<std::uint32_t>(std::min<std::size_t>(
                                           2 * text.size() + 1000, 1u << 31)));
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  for (std::size_t begin = 0; begin < text.size();) {
    const int found = pcre2_match(code_.get(), subject, text.size(), begin, PCRE2_NO_UTF_CHECK,
                                  match.get(), context.get());
    if (found < 0) throw Error("pre-tokenizer " + name_ + ": " + describe_error(found));
    const std::size_t end = pcre2_get_ovector_pointer(match.get())[1];
    pieces.push_back(text.substr(begin, end - begin));
    begin = end;
  }
}

}  // namespace lockstep::model
