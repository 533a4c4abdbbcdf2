#include "model/model.h"

#include <filesystem>

#include "model/fail.h"
#include "model/gguf_model.h"
#include "model/hf_model.h"
#include "model/mapped_file.h"

namespace lockstep::model {
namespace {

// Every row of the embedding gets a token, if one without text: vocabularies are often padded to a
// round size, and the ids of added tokens may leave holes.
void pad_vocabulary(Model& model) {
  TokenizerSpec& spec = model.tokenizer;
  const auto rows = static_cast<std::size_t>(model.config.vocab_size);
  if (spec.tokens.size() > rows) {
    fail(model.path, "tokenizer: " + std::to_string(spec.tokens.size()) +
                         " tokens; the embedding has only " + std::to_string(rows) + " rows");
  }
  spec.tokens.resize(rows);
}

void check_special_tokens(const Model& model) {
  const TokenizerSpec& spec = model.tokenizer;
  if (spec.add_bos_token && !spec.bos_token_id) {
    fail(model.path, "tokenizer: adds a beginning-of-sequence token, but names none");
  }
  if (model.config.eos_token_ids.empty()) {
    fail(model.path, "eos_token_id: is missing; no token would end an answer");
  }
}

}  // namespace

Model open_model(const std::string& path) {
  if (!path_exists(path)) fail(path, "no such file or folder");
  Model model = std::filesystem::is_directory(path) ? open_hf_model(path) : open_gguf_model(path);
  pad_vocabulary(model);
  check_special_tokens(model);
  return model;
}

}  // namespace lockstep::model
