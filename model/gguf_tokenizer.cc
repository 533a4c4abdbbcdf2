#include "model/gguf_tokenizer.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "model/fail.h"
#include "model/limits.h"

namespace lockstep::model {
namespace {

// llama.cpp's names for pre-tokenizers (llama-vocab.cpp) and ours.
constexpr std::array<std::pair<std::string_view, std::string_view>, 8> kPreTokenizers{{
    {"smollm", "smollm"},
    {"gpt-2", "gpt2"},
    {"gpt2", "gpt2"},
    {"llama-bpe", "llama3"},
    {"llama3", "llama3"},
    {"llama-v3", "llama3"},
    {"qwen2", "qwen2"},
    {"tekken", "tekken"},
}};

// Control tokens that end a turn whatever the file's ids say; a base model turned into a chat model
// often keeps the base's end-of-sequence id. Qwen's folders name <|endoftext|>, too.
constexpr std::array<std::string_view, 4> kEndTexts{"<|im_end|>", "<|eot_id|>", "<|eom_id|>",
                                                    "<|end_of_text|>"};

// llama_token_type
constexpr std::int64_t kUnknown = 2;
constexpr std::int64_t kControl = 3;
constexpr std::int64_t kUserDefined = 4;
constexpr std::int64_t kUnused = 5;
constexpr std::int64_t kLastTokenType = 6;

std::string read_pre_tokenizer(const GgufMetadata& metadata) {
  constexpr std::string_view kKey = "tokenizer.ggml.pre";
  const auto name = metadata.require(kKey, metadata.string(kKey));
  const auto found = std::ranges::find(kPreTokenizers, name,
                                       &std::pair<std::string_view, std::string_view>::first);
  if (found != kPreTokenizers.end()) return std::string(found->second);
  std::string known;
  for (const auto& [theirs, ours] : kPreTokenizers) {
    known.append(known.empty() ? "" : ", ").append(theirs);
  }
  metadata.fail_at(kKey, in_quotes(name) + " is not supported; supported are " + known);
}

std::vector<std::string> read_strings(const GgufMetadata& metadata, std::string_view key) {
  const auto strings = metadata.require(key, metadata.strings(key));
  return {strings.begin(), strings.end()};
}

std::optional<std::int32_t> token_id(const GgufMetadata& metadata, std::string_view key,
                                     std::size_t tokens) {
  const auto id = metadata.integer(key, 0, static_cast<std::int64_t>(tokens) - 1);
  if (!id) return std::nullopt;
  return static_cast<std::int32_t>(*id);
}

void sort_by_type(const GgufMetadata& metadata, TokenizerSpec& spec) {
  constexpr std::string_view kKey = "tokenizer.ggml.token_type";
  const auto types = metadata.require(kKey, metadata.integers(kKey, 0, kLastTokenType));
  if (types.size() != spec.tokens.size()) {
    metadata.fail_at(kKey, std::to_string(types.size()) + " elements for " +
                               std::to_string(spec.tokens.size()) + " tokens");
  }
  for (std::size_t id = 0; id < types.size(); ++id) {
    const bool is_special = types[id] == kControl || (types[id] == kUnknown && spec.byte_fallback);
    if (is_special) spec.special_tokens.push_back(static_cast<std::int32_t>(id));
    if (types[id] == kUserDefined) spec.added_tokens.push_back(static_cast<std::int32_t>(id));
    if (types[id] == kUnused) spec.tokens[id].clear();  // llama.cpp's converter writes "[PAD262]"
  }
}

void read_byte_level(const GgufMetadata& metadata, TokenizerSpec& spec) {
  spec.pre_tokenizer = read_pre_tokenizer(metadata);
  spec.merges = read_strings(metadata, "tokenizer.ggml.merges");
  // llama.cpp's defaults for Llama 3 and tekken, which its converter does not write down.
  spec.ignore_merges = spec.pre_tokenizer == "llama3" || spec.pre_tokenizer == "tekken";
  spec.add_bos_token = spec.ignore_merges;
  // As Qwen's own tokenizer does; llama.cpp does not.
  spec.nfc = spec.pre_tokenizer == "qwen2";
}

// SentencePiece's BPE, as llama.cpp does it: a space goes before every part of a text.
void read_byte_fallback(const GgufMetadata& metadata, TokenizerSpec& spec) {
  constexpr std::string_view kScores = "tokenizer.ggml.scores";
  spec.byte_fallback = true;
  spec.scores = metadata.require(kScores, metadata.floats(kScores));
  if (spec.scores.size() != spec.tokens.size()) {
    metadata.fail_at(kScores, std::to_string(spec.scores.size()) + " elements for " +
                                  std::to_string(spec.tokens.size()) + " tokens");
  }
  spec.strips_first_space = metadata.boolean("tokenizer.ggml.add_space_prefix").value_or(true);
  spec.space_prefix = spec.strips_first_space ? SpacePrefix::kEveryPart : SpacePrefix::kNone;
  spec.add_bos_token = true;
}

}  // namespace

TokenizerSpec gguf_tokenizer(const GgufMetadata& metadata) {
  constexpr std::string_view kModel = "tokenizer.ggml.model";
  constexpr std::string_view kTokens = "tokenizer.ggml.tokens";
  const auto model = metadata.require(kModel, metadata.string(kModel));
  if (model != "gpt2" && model != "llama") {
    metadata.fail_at(kModel, in_quotes(model) + " is not supported; supported are gpt2, llama");
  }
  TokenizerSpec spec;
  spec.tokens = read_strings(metadata, kTokens);
  if (spec.tokens.empty() || spec.tokens.size() > static_cast<std::size_t>(kMaxVocabSize)) {
    metadata.fail_at(kTokens, std::to_string(spec.tokens.size()) +
                                  " tokens; there must be between 1 and " +
                                  std::to_string(kMaxVocabSize));
  }
  if (model == "gpt2") {
    read_byte_level(metadata, spec);
  } else {
    read_byte_fallback(metadata, spec);
  }
  sort_by_type(metadata, spec);
  spec.bos_token_id = token_id(metadata, "tokenizer.ggml.bos_token_id", spec.tokens.size());
  spec.eos_token_id = token_id(metadata, "tokenizer.ggml.eos_token_id", spec.tokens.size());
  spec.unk_token_id = token_id(metadata, "tokenizer.ggml.unknown_token_id", spec.tokens.size());
  spec.add_bos_token =
      metadata.boolean("tokenizer.ggml.add_bos_token").value_or(spec.add_bos_token);
  if (metadata.boolean("tokenizer.ggml.add_eos_token").value_or(false)) {
    metadata.fail_at("tokenizer.ggml.add_eos_token", "true is not supported");
  }
  spec.chat_template = metadata.string("tokenizer.chat_template").value_or("");
  spec.tool_use_template = metadata.string("tokenizer.chat_template.tool_use").value_or("");
  return spec;
}

std::vector<std::int32_t> gguf_eos_token_ids(const GgufMetadata& metadata,
                                             const TokenizerSpec& spec) {
  std::vector<std::int32_t> ids;
  const auto add = [&ids](std::int32_t id) {
    if (std::ranges::find(ids, id) == ids.end()) ids.push_back(id);
  };
  for (const std::string_view key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                     "tokenizer.ggml.eom_token_id"}) {
    if (const auto id = token_id(metadata, key, spec.tokens.size())) add(*id);
  }
  for (const std::int32_t id : spec.special_tokens) {
    const std::string& text = spec.tokens[static_cast<std::size_t>(id)];
    const bool ends_qwen = spec.pre_tokenizer == "qwen2" && text == "<|endoftext|>";
    if (ends_qwen || std::ranges::find(kEndTexts, text) != kEndTexts.end()) add(id);
  }
  return ids;
}

}  // namespace lockstep::model
