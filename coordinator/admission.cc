#include "coordinator/admission.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "comm/json_reader.h"
#include "kernels/philox.h"

namespace lockstep::coordinator {
namespace {

using comm::Json;

Fault invalid(std::string message, std::string param) {
  return {"invalid_request_error", std::move(message), std::move(param)};
}

Fault too_long(std::string message, std::string param) {
  return {"context_length_exceeded", std::move(message), std::move(param)};
}

// 9001 as "9,001".
std::string grouped(std::int64_t number) {
  std::string digits = std::to_string(number);
  for (std::int64_t i = static_cast<std::int64_t>(digits.size()) - 3; i > (number < 0 ? 1 : 0);
       i -= 3) {
    digits.insert(static_cast<std::size_t>(i), 1, ',');
  }
  return digits;
}

}  // namespace

Admission::Admission(const SchedulerOptions& options, const model::Tokenizer& tokenizer,
                     const model::ChatTemplate* chat_template,
                     std::vector<std::int32_t> eos_token_ids, std::uint64_t seed)
    : options_(options),
      tokenizer_(tokenizer),
      chat_template_(chat_template),
      eos_token_ids_(std::move(eos_token_ids)),
      seed_(seed) {
  const auto vocab_size = static_cast<std::int32_t>(tokenizer.vocab_size());
  for (std::int32_t id = 0; id < vocab_size; ++id) {
    longest_token_bytes_ = std::max(longest_token_bytes_, tokenizer.token_bytes(id).size());
  }
}

Result<AdmittedRequest> Admission::admit(const comm::GenerateRequest& request,
                                         std::uint64_t sequence_id) {
  const auto outside = [this](std::int32_t id, const std::string& param) -> std::optional<Fault> {
    if (id >= 0 && id < tokenizer_.vocab_size()) return std::nullopt;
    return invalid(param + " has token " + grouped(id) + ", the vocabulary has tokens 0 to " +
                       grouped(tokenizer_.vocab_size() - 1),
                   param);
  };
  for (const std::int32_t id : request.sampling.stop_token_ids) {
    if (auto fault = outside(id, "stop_token_ids")) return *fault;
  }
  for (const auto& [id, bias] : request.sampling.logit_bias) {
    if (auto fault = outside(id, "logit_bias")) return *fault;
  }
  Result<std::vector<std::int32_t>> prompt = prompt_tokens(request);
  if (!prompt) return prompt.fault();
  if (prompt->empty())
    return invalid("the prompt is empty: it must have at least 1 token", "prompt");
  for (const std::int32_t id : *prompt) {
    if (auto fault = outside(id, "prompt_token_ids")) return *fault;
  }
  const Result<std::int32_t> max_tokens =
      resolve_max_tokens(request, static_cast<std::int64_t>(prompt->size()));
  if (!max_tokens) return max_tokens.fault();
  if (request.sampling.min_tokens > *max_tokens) {
    return invalid("min_tokens " + grouped(request.sampling.min_tokens) + " exceeds max_tokens " +
                       grouped(*max_tokens),
                   "min_tokens");
  }

  AdmittedRequest admitted;
  Request& result = admitted.request;
  result.sequence_id = sequence_id;
  result.prompt_token_ids = std::move(*prompt);
  result.stop.stop_token_ids = request.sampling.stop_token_ids;
  if (!request.ignore_eos) result.stop.eos_token_ids = eos_token_ids_;
  result.stop.min_tokens = request.sampling.min_tokens;
  result.stop.max_tokens = *max_tokens;
  result.sampling = request.sampling;
  result.sampling.seed = request.seed.value_or(derive_seed(sequence_id));
  result.sampling.stop_token_ids.insert(result.sampling.stop_token_ids.end(),
                                        result.stop.eos_token_ids.begin(),
                                        result.stop.eos_token_ids.end());
  admitted.answer = {request.stop,
                     request.include_stop_str_in_output,
                     request.skip_special_tokens,
                     request.sampling.min_tokens,
                     request.sampling.logprobs >= 0,
                     request.messages && request.add_generation_prompt};
  return admitted;
}

Result<std::vector<std::int32_t>> Admission::prompt_tokens(const comm::GenerateRequest& request) {
  if (request.prompt_token_ids) return *request.prompt_token_ids;
  if (request.prompt) return encode(*request.prompt, request.add_special_tokens, "prompt");
  if (!request.messages) {
    return invalid("one of prompt, prompt_token_ids and messages must be set", "prompt");
  }
  const Result<std::string> text = render(request);
  if (!text) return text.fault();
  // A chat template writes the special tokens itself.
  return encode(*text, /*add_special_tokens=*/false, "messages");
}

Result<std::vector<std::int32_t>> Admission::encode(const std::string& text,
                                                    bool add_special_tokens,
                                                    const std::string& param) {
  // Spares the tokenizer a text that cannot fit however well it is compressed.
  const std::size_t max_bytes =
      static_cast<std::size_t>(options_.max_model_len) * longest_token_bytes_;
  if (text.size() > max_bytes) {
    return too_long(param + " has " + grouped(static_cast<std::int64_t>(text.size())) +
                        " bytes, more than max_model_len " + grouped(options_.max_model_len) +
                        " tokens can hold",
                    param);
  }
  if (last_.text != text || last_.add_special_tokens != add_special_tokens) {
    last_ = {
        text, add_special_tokens,
        tokenizer_.encode(text, {.add_special_tokens = add_special_tokens, .parse_special = true})};
  }
  return last_.token_ids;
}

Result<std::string> Admission::render(const comm::GenerateRequest& request) const {
  if (chat_template_ == nullptr) {
    return invalid("the model has no chat template: send prompt instead of messages", "messages");
  }
  const Result<Json> messages = comm::parse_json(*request.messages, "messages");
  if (!messages) return messages.fault();
  if (!messages->is_array() || messages->empty()) {
    return invalid("messages must be an array of at least 1 message", "messages");
  }
  const Result<Json> extra =
      comm::parse_json(request.template_args.value_or("{}"), "template_args");
  if (!extra) return extra.fault();
  if (!extra->is_object()) return invalid("template_args must be an object", "template_args");
  const auto tools = extra->find("tools");
  if (tools != extra->end() && !tools->empty() && !chat_template_->takes_tools()) {
    return invalid(
        "tools: the model's chat template has no place for them, so that the model would "
        "not see them",
        "tools");
  }
  return chat_template_->render(*messages, request.add_generation_prompt, *extra);
}

Result<std::int32_t> Admission::resolve_max_tokens(const comm::GenerateRequest& request,
                                                   std::int64_t num_prompt_tokens) const {
  const std::string prompt = "prompt of " + grouped(num_prompt_tokens) + " tokens";
  const std::int64_t cache_tokens = std::int64_t{options_.num_blocks} * options_.block_size;
  const std::string cache = "the whole KV cache of " + grouped(cache_tokens) + " tokens (" +
                            grouped(options_.num_blocks) + " blocks of " +
                            grouped(options_.block_size) + ")";
  const std::string context = "max_model_len " + grouped(options_.max_model_len);
  // The last token of an answer is never put into the cache.
  const std::int64_t longest = std::min<std::int64_t>(options_.max_model_len, cache_tokens + 1);
  const std::string& limit = longest == options_.max_model_len ? context : cache;
  if (num_prompt_tokens >= longest) {
    return too_long(prompt + " leaves no room for an answer in " + limit, "prompt");
  }
  if (!request.max_tokens) return static_cast<std::int32_t>(longest - num_prompt_tokens);
  if (num_prompt_tokens + *request.max_tokens > longest) {
    return too_long(prompt + " + max_tokens " + grouped(*request.max_tokens) + " exceeds " + limit,
                    "max_tokens");
  }
  return *request.max_tokens;
}

// Two requests of one life of the replica never share a seed by default.
std::uint64_t Admission::derive_seed(std::uint64_t sequence_id) const {
  const kernels::PhiloxCounter words = kernels::philox4x32(
      {static_cast<std::uint32_t>(sequence_id), static_cast<std::uint32_t>(sequence_id >> 32), 0,
       0},
      {static_cast<std::uint32_t>(seed_), static_cast<std::uint32_t>(seed_ >> 32)});
  return std::uint64_t{words[1]} << 32 | words[0];
}

}  // namespace lockstep::coordinator
