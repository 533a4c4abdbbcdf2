#define PCRE2_CODE_UNIT_WIDTH 8
#include "model/pre_tokenizer.h"

#include <pcre2.h>

#include <algorithm>
#include <cstdint>

#include "base/error.h"

namespace lockstep::model {
namespace {

// A set of characters, written as <X> within a class of the patterns below.
struct CharacterSet {
  std::string_view placeholder;
  std::string_view members;
};

// Hugging Face runs its patterns on Oniguruma with the data of Unicode 16, and Digits on that of
// Unicode 17. A PCRE2 may know an older Unicode (10.42: 14), and its \s has U+180E, which is not
// white space since Unicode 6.3; so what is not the same everywhere is spelled out.
constexpr CharacterSet kCharacterSets[] = {
    {"<S>",
     R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f})"
     R"(\x{3000})"},
    {"<L>",
     R"(\p{L}\x{1c89}-\x{1c8a}\x{a7cb}-\x{a7cd}\x{a7da}-\x{a7dc}\x{105c0}-\x{105f3})"
     R"(\x{10d4a}-\x{10d65}\x{10d6f}-\x{10d85}\x{10ec2}-\x{10ec4}\x{1123f}-\x{11240})"
     R"(\x{11380}-\x{11389}\x{1138b}\x{1138e}\x{11390}-\x{113b5}\x{113b7}\x{113d1}\x{113d3})"
     R"(\x{11bc0}-\x{11be0}\x{11f02}\x{11f04}-\x{11f10}\x{11f12}-\x{11f33}\x{1342f})"
     R"(\x{13441}-\x{13446}\x{13460}-\x{143fa}\x{16100}-\x{1611d}\x{16d40}-\x{16d6c}\x{18cff})"
     R"(\x{1b132}\x{1b155}\x{1df25}-\x{1df2a}\x{1e030}-\x{1e06d}\x{1e4d0}-\x{1e4eb})"
     R"(\x{1e5d0}-\x{1e5ed}\x{1e5f0}\x{2b739}\x{2ebf0}-\x{2ee5d}\x{31350}-\x{323af})"},
    {"<N>", R"(\p{N}\x{10d40}-\x{10d49}\x{116d0}-\x{116e3}\x{11bf0}-\x{11bf9}\x{11f50}-\x{11f59})"
            R"(\x{16130}-\x{16139}\x{16d70}-\x{16d79}\x{1ccf0}-\x{1ccf9}\x{1d2c0}-\x{1d2d3})"
            R"(\x{1e4f0}-\x{1e4f9}\x{1e5f1}-\x{1e5fa})"},
    {"<Lu>", R"(\p{Lu}\p{Lt}\x{1c89}\x{a7cb}-\x{a7cc}\x{a7da}\x{a7dc}\x{10d50}-\x{10d65})"},
    {"<Ll>", R"(\p{Ll}\x{1c8a}\x{a7cd}\x{a7db}\x{10d70}-\x{10d85}\x{1df25}-\x{1df2a})"},
    // Letters without case, and marks.
    {"<LoM>",
     R"(\p{Lm}\p{Lo}\p{M}\x{897}\x{cf3}\x{ece}\x{105c0}-\x{105f3}\x{10d4a}-\x{10d4f})"
     R"(\x{10d69}-\x{10d6d}\x{10d6f}\x{10ec2}-\x{10ec4}\x{10efc}-\x{10eff}\x{1123f}-\x{11241})"
     R"(\x{11380}-\x{11389}\x{1138b}\x{1138e}\x{11390}-\x{113b5}\x{113b7}-\x{113c0}\x{113c2})"
     R"(\x{113c5}\x{113c7}-\x{113ca}\x{113cc}-\x{113d3}\x{113e1}-\x{113e2}\x{11bc0}-\x{11be0})"
     R"(\x{11f00}-\x{11f10}\x{11f12}-\x{11f3a}\x{11f3e}-\x{11f42}\x{11f5a}\x{1342f})"
     R"(\x{13440}-\x{13455}\x{13460}-\x{143fa}\x{16100}-\x{1612f}\x{16d40}-\x{16d6c}\x{18cff})"
     R"(\x{1b132}\x{1b155}\x{1e030}-\x{1e06d}\x{1e08f}\x{1e4d0}-\x{1e4ef}\x{1e5d0}-\x{1e5f0})"
     R"(\x{2b739}\x{2ebf0}-\x{2ee5d}\x{31350}-\x{323af})"},
    {"<17>", R"(\x{11de0}-\x{11de9}\x{16ff4}-\x{16ff6})"},  // numbers since Unicode 17
};

struct NamedPattern {
  std::string_view name;
  std::string_view pattern;
};

// Every pattern matches at every position of every text: what no other branch takes is white space.
constexpr NamedPattern kPatterns[] = {
    // openai/gpt-2, src/encoder.py; Hugging Face's ByteLevel.
    {"gpt2",
     R"('s|'t|'re|'ve|'m|'ll|'d| ?[<L>]+| ?[<N>]+| ?[^<S><L><N>]+|[<S>]+(?![^<S>])|[<S>]+)"},
    // Digits(individual_digits=true), then ByteLevel on each piece. Digits cuts around every number
    // character, so one never takes the space before it, and white space that one follows is at the
    // end of its piece, where the look-ahead lets it go whole.
    {"smollm", R"('s|'t|'re|'ve|'m|'ll|'d| ?[<L>]+|[<N><17>]| ?[^<S><L><N><17>]+)"
               R"(|[<S>]+(?![^<S><N><17>])|[<S>]+)"},
    // The Split pattern in tokenizer.json of meta-llama/Meta-Llama-3-8B.
    {"llama3",
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n<L><N>]?[<L>]+|[<N>]{1,3}| ?[^<S><L><N>]+[\r\n]*)"
     R"(|[<S>]*[\r\n]+|[<S>]+(?![^<S>])|[<S>]+)"},
    // The Split pattern in tokenizer.json of Qwen/Qwen2-7B, and of Qwen2.5 and Qwen3.
    {"qwen2", R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n<L><N>]?[<L>]+|[<N>]| ?[^<S><L><N>]+[\r\n]*)"
              R"(|[<S>]*[\r\n]+|[<S>]+(?![^<S>])|[<S>]+)"},
    // The Split pattern in tokenizer.json of mistralai/Mistral-Nemo-Base-2407.
    {"tekken",
     R"([^\r\n<L><N>]?[<Lu><LoM>]*[<Ll><LoM>]+|[^\r\n<L><N>]?[<Lu><LoM>]+[<Ll><LoM>]*|[<N>])"
     R"(| ?[^<S><L><N>]+[\r\n/]*|[<S>]*[\r\n]+|[<S>]+(?![^<S>])|[<S>]+)"},
};

std::string_view find_pattern(std::string_view name, const std::string& path) {
  std::string known;
  for (const NamedPattern& entry : kPatterns) {
    if (entry.name == name) return entry.pattern;
    known.append(known.empty() ? "" : ", ").append(entry.name);
  }
  throw Error(path + ": unknown pre-tokenizer \"" + std::string(name) + "\"; known are " + known);
}

std::string expand_character_sets(std::string_view pattern) {
  std::string expanded(pattern);
  for (const CharacterSet& set : kCharacterSets) {
    for (std::size_t at = 0; (at = expanded.find(set.placeholder, at)) != std::string::npos;) {
      expanded.replace(at, set.placeholder.size(), set.members);
      at += set.members.size();
    }
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
  const std::string pattern = expand_character_sets(find_pattern(name, path));
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
  // The patterns backtrack at most once or twice for each character of white space, and tekken's
  // for each capital, in front of which it may have taken a mark; more would be a fault in the
  // table above, and is stopped here before it can take quadratic time.
  pcre2_set_match_limit(context.get(), static_cast<std::uint32_t>(std::min<std::size_t>(
                                           4 * text.size() + 1000, 1u << 31)));
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
