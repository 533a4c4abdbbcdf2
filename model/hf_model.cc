#include "model/hf_model.h"

#include <algorithm>
#include <utility>

#include "model/family_tensors.h"
#include "model/hf_config.h"
#include "model/hf_tokenizer.h"
#include "model/hf_weights.h"

namespace lockstep::model {
namespace {

// config.json and the tokenizer's files both name the special tokens; each fills the other's gaps.
// A chat model often changes only the tokenizer's end-of-sequence token: it ends an answer too.
void join_special_tokens(ModelConfig& config, TokenizerSpec& spec) {
  if (!spec.bos_token_id) spec.bos_token_id = config.bos_token_id;
  if (!config.bos_token_id) config.bos_token_id = spec.bos_token_id;
  auto& ends = config.eos_token_ids;
  if (!spec.eos_token_id && !ends.empty()) spec.eos_token_id = ends.front();
  if (spec.eos_token_id && std::ranges::find(ends, *spec.eos_token_id) == ends.end()) {
    ends.push_back(*spec.eos_token_id);
  }
}

}  // namespace

Model open_hf_model(const std::string& folder) {
  Model model;
  model.path = folder;
  HfConfig read = read_hf_config(folder);
  model.config = std::move(read.config);
  model.tokenizer = read_hf_tokenizer(folder);
  join_special_tokens(model.config, model.tokenizer);
  auto tensors = read_hf_weights(folder, read.quantization);
  check_tensors(model.config, *tensors);
  model.tensors = std::move(tensors);
  return model;
}

}  // namespace lockstep::model
