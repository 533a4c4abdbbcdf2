#include "model/hf_tokenizer.h"

#include <algorithm>
#include <utility>

#include "model/fail.h"
#include "model/hf_metaspace.h"
#include "model/hf_normalizer.h"
#include "model/hf_pre_tokenizer.h"
#include "model/json_file.h"
#include "model/limits.h"
#include "model/mapped_file.h"

namespace lockstep::model {
namespace {

using nlohmann::json;

// A token id that is a member of an object.
std::int32_t require_id(const JsonFields& fields, std::string_view key) {
  return static_cast<std::int32_t>(fields.require(key, fields.integer(key, 0, kMaxVocabSize - 1)));
}

std::optional<std::int32_t> find_token(const TokenizerSpec& spec, std::string_view text) {
  const auto found = std::ranges::find(spec.tokens, text);
  if (found == spec.tokens.end()) return std::nullopt;
  return static_cast<std::int32_t>(found - spec.tokens.begin());
}

// Puts a token at its id; ids without one stay empty for pad_vocabulary().
void place_token(TokenizerSpec& spec, std::int32_t id, const std::string& text,
                 const JsonFields& fields, std::string_view key) {
  const auto index = static_cast<std::size_t>(id);
  if (index >= spec.tokens.size()) spec.tokens.resize(index + 1);
  if (!spec.tokens[index].empty() && spec.tokens[index] != text) {
    fields.fail_at(key, "id " + std::to_string(id) + " stands for both " +
                            in_quotes(spec.tokens[index]) + " and " + in_quotes(text));
  }
  spec.tokens[index] = text;
}

void read_vocabulary(const JsonFields& model, TokenizerSpec& spec) {
  const JsonFields vocabulary = model.require("vocab", model.object("vocab"));
  for (const auto& [text, unused] : vocabulary.value().items()) {
    if (text.empty()) vocabulary.fail_at("''", "an empty token");
    place_token(spec, require_id(vocabulary, text), text, model, "vocab");
  }
}

// A merge is "left right", or in newer files ["left", "right"]. Neither half holds a space:
// vocabularies write it as another character.
std::string read_merge(const json& merge, const JsonFields& model) {
  std::string text;
  if (merge.is_string()) text = merge.get<std::string>();
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    text = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  }
  const std::size_t space = text.find(' ');
  if (space == std::string::npos || space == 0 || space + 1 == text.size() ||
      text.find(' ', space + 1) != std::string::npos) {
    model.fail_at("merges", "has an element that is not a pair of tokens");
  }
  return text;
}

void read_model(const JsonFields& fields, TokenizerSpec& spec) {
  const JsonFields model = fields.require("model", fields.object("model"));
  const std::string type = model.string("type").value_or("BPE");
  if (type != "BPE") model.fail_at("type", in_quotes(type) + " is not supported; supported is BPE");
  if (model.number("dropout", 0, 1).value_or(0) != 0) {
    model.fail_at("dropout", "is not supported");
  }
  for (const std::string_view key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!model.string(key).value_or("").empty()) model.fail_at(key, "is not supported");
  }
  read_vocabulary(model, spec);
  const json* merges = model.array("merges");
  if (merges == nullptr) model.fail_at("merges", "is missing");
  for (const json& merge : *merges) spec.merges.push_back(read_merge(merge, model));
  spec.ignore_merges = model.boolean("ignore_merges").value_or(false);
  if (const auto unknown = model.string("unk_token"))
    spec.unk_token_id = find_token(spec, *unknown);
}

void read_added_tokens(const JsonFields& fields, TokenizerSpec& spec) {
  const json* added = fields.array("added_tokens");
  if (added == nullptr) return;
  for (std::size_t i = 0; i < added->size(); ++i) {
    const JsonFields token((*added)[i], fields.file(), "added_tokens[" + std::to_string(i) + "].");
    const std::int32_t id = require_id(token, "id");
    const std::string text = token.require("content", token.string("content"));
    if (text.empty()) token.fail_at("content", "is empty");
    for (const std::string_view key : {"single_word", "lstrip", "rstrip"}) {
      if (token.boolean(key).value_or(false)) token.fail_at(key, "true is not supported");
    }
    place_token(spec, id, text, token, "id");
    (token.boolean("special").value_or(false) ? spec.special_tokens : spec.added_tokens)
        .push_back(id);
    if (token.boolean("normalized").value_or(false)) spec.normalized_tokens.push_back(id);
  }
  std::ranges::sort(spec.special_tokens);
  std::ranges::sort(spec.added_tokens);
}

// What a TemplateProcessing puts around one text: nothing, or one token before it.
void read_template(const JsonFields& processor, TokenizerSpec& spec) {
  const json* single = processor.array("single");
  if (single == nullptr) processor.fail_at("single", "is missing");
  for (std::size_t i = 0; i < single->size(); ++i) {
    const JsonFields piece((*single)[i], processor.file(), "post_processor.single.");
    const auto special = piece.object("SpecialToken");
    if (!special) continue;
    if (i != 0 || single->size() != 2) {
      processor.fail_at("single", "only one token, before the text, is supported");
    }
    const std::string text = special->require("id", special->string("id"));
    spec.bos_token_id = find_token(spec, text);
    if (!spec.bos_token_id) special->fail_at("id", in_quotes(text) + " is not a token");
    spec.add_bos_token = true;
  }
}

void read_post_processor(const JsonFields& processor, TokenizerSpec& spec) {
  const std::string type = processor.require("type", processor.string("type"));
  if (type == "ByteLevel") return;  // it only moves offsets
  if (type == "TemplateProcessing") return read_template(processor, spec);
  const json* steps = type == "Sequence" ? processor.array("processors") : nullptr;
  if (steps == nullptr) {
    processor.fail_at("type", in_quotes(type) +
                                  " is not supported; supported are ByteLevel, "
                                  "TemplateProcessing and a Sequence of them");
  }
  for (const json& step : *steps) {
    const JsonFields fields(step, processor.file(), "post_processor.");
    if (fields.string("type") == "Sequence") fields.fail_at("type", "a Sequence in a Sequence");
    read_post_processor(fields, spec);
  }
}

// A special token of tokenizer_config.json: its text, or an object with its "content".
std::optional<std::int32_t> read_special_token(const JsonFields& fields, std::string_view key,
                                               const TokenizerSpec& spec) {
  const json* value = fields.find(key);
  if (value == nullptr) return std::nullopt;
  std::optional<std::string> text;
  if (value->is_object()) {
    const JsonFields token = fields.require(key, fields.object(key));
    text = token.require("content", token.string("content"));
  } else {
    text = fields.string(key);
  }
  const auto id = find_token(spec, *text);
  if (!id) fields.fail_at(key, in_quotes(*text) + " is not a token of tokenizer.json");
  return id;
}

// One template, or a list of named ones, of which "default" and "tool_use" are meant.
void read_chat_template(const JsonFields& fields, TokenizerSpec& spec) {
  constexpr std::string_view kKey = "chat_template";
  const json* value = fields.find(kKey);
  if (value == nullptr) return;
  if (!value->is_array()) {
    spec.chat_template = *fields.string(kKey);
    return;
  }
  std::optional<std::string> by_default;
  for (const json& element : *value) {
    const JsonFields named(element, fields.file(), "chat_template.");
    const std::string name = named.require("name", named.string("name"));
    const auto source = named.string("template");
    if (name == "default") by_default = named.require("template", source);
    if (name == "tool_use") spec.tool_use_template = named.require("template", source);
  }
  if (!by_default) fields.fail_at(kKey, "has no template named 'default'");
  spec.chat_template = *std::move(by_default);
}

// Templates in files of their own, which stand in for those of tokenizer_config.json.
void read_template_files(const std::string& folder, TokenizerSpec& spec) {
  const std::string by_default = folder + "/chat_template.jinja";
  const std::string tool_use = folder + "/additional_chat_templates/tool_use.jinja";
  if (path_exists(by_default)) {
    spec.chat_template = read_text(by_default, kMaxConfigBytes);
    spec.tool_use_template.clear();
  }
  if (path_exists(tool_use)) spec.tool_use_template = read_text(tool_use, kMaxConfigBytes);
}

// Only these classes of transformers 4 rebuild the post-processor from the flag; all others follow
// the post-processor, whatever the flag says.
std::optional<bool> read_add_bos_token(const JsonFields& fields) {
  const auto flag = fields.boolean("add_bos_token");
  const std::string name = fields.string("tokenizer_class").value_or("");
  return name == "LlamaTokenizer" || name == "LlamaTokenizerFast" ? flag : std::nullopt;
}

void read_tokenizer_config(const std::string& file, TokenizerSpec& spec) {
  const json parsed = read_json(file, kMaxConfigBytes);
  const JsonFields fields(parsed, file);
  read_chat_template(fields, spec);
  const auto bos = read_special_token(fields, "bos_token", spec);
  if (const auto add_bos = read_add_bos_token(fields)) spec.add_bos_token = *add_bos;
  if (spec.add_bos_token && bos && spec.bos_token_id && bos != spec.bos_token_id) {
    fields.fail_at("bos_token", "is not the token that tokenizer.json's post_processor adds");
  }
  if (bos) spec.bos_token_id = bos;
  if (fields.boolean("add_eos_token").value_or(false)) {
    fields.fail_at("add_eos_token", "true is not supported");
  }
  spec.eos_token_id = read_special_token(fields, "eos_token", spec);
  if (const auto unknown = read_special_token(fields, "unk_token", spec)) {
    spec.unk_token_id = unknown;
  }
}

}  // namespace

TokenizerSpec read_hf_tokenizer(const std::string& folder) {
  const std::string file = folder + "/tokenizer.json";
  const json parsed = read_json(file, kMaxTokenizerBytes);
  const JsonFields fields(parsed, file);
  TokenizerSpec spec;
  if (falls_back_to_bytes(fields)) {
    read_metaspace(fields, spec);
  } else {
    read_normalizer(fields, spec);
    spec.pre_tokenizer = recognize_pre_tokenizer(fields);
  }
  read_model(fields, spec);
  read_added_tokens(fields, spec);
  if (const auto processor = fields.object("post_processor")) read_post_processor(*processor, spec);

  const std::string config = folder + "/tokenizer_config.json";
  if (path_exists(config)) read_tokenizer_config(config, spec);
  read_template_files(folder, spec);
  return spec;
}

}  // namespace lockstep::model
