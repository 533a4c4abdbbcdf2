#include "gateway/openai_request.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "gateway/chat_messages.h"
#include "gateway/object_reader.h"

namespace lockstep::gateway {
namespace {

// The limits of the native protocol (docs/protocol.md), so that faults name the client's field.
constexpr std::size_t kMaxTextBytes = std::size_t{4} << 20;
constexpr std::size_t kMaxPromptTokens = std::size_t{1} << 20;
constexpr std::size_t kMaxTemplateArgsBytes = std::size_t{64} << 10;
constexpr std::size_t kMaxStops = 16;
constexpr std::size_t kMaxStopBytes = 1024;
constexpr std::size_t kMaxStopTokenIds = 128;
constexpr std::size_t kMaxLogitBiases = 1024;
constexpr std::int32_t kMaxLogprobs = 20;
constexpr std::int32_t kMaxTokens = std::numeric_limits<std::int32_t>::max();
constexpr std::size_t kMaxLabelBytes = 1024;
constexpr std::size_t kMaxMetadata = 16;
// What OpenAI's completions endpoint does without max_tokens; chat goes on to the end.
constexpr std::int32_t kDefaultCompletionTokens = 16;

// ---- What both endpoints have ----

void read_model(ObjectReader& body, const std::string& served_model_name) {
  std::optional<std::string> model;
  body.text("model", kMaxLabelBytes, model);
  if (!model) return body.refuse("model", "is required");
  if (*model == served_model_name) return;
  body.faults().refuse(Fault{"model_not_found",
                             "the model '" + shortened(*model) + "' does not exist; '" +
                                 served_model_name + "' is served here",
                             "model"});
}

void read_stop(ObjectReader& body, std::vector<std::string>& stop) {
  const Json* from = body.value("stop");
  if (from == nullptr) return;
  if (from->is_string()) {
    auto one = read_text(*from, kMaxStopBytes, "stop", body.faults());
    if (one) stop.push_back(*std::move(one));
  } else if (from->is_array()) {
    body.texts("stop", kMaxStops, kMaxStopBytes, stop);
  } else {
    body.refuse("stop", "must be a string or an array of strings, not " + type_phrase(*from));
  }
  for (std::size_t i = 0; i < stop.size(); ++i) {
    if (!stop[i].empty()) continue;
    body.faults().refuse(from->is_string() ? "stop" : element_path("stop", i), "must not be empty");
  }
}

// {"50256": -100, ...} to ascending pairs.
void read_logit_bias(ObjectReader& body, std::vector<std::pair<std::int32_t, float>>& biases) {
  const Json* from = body.object("logit_bias");
  if (from == nullptr) return;
  if (from->size() > kMaxLogitBiases) {
    return body.refuse("logit_bias", "has " + std::to_string(from->size()) +
                                         " entries, must have at most " +
                                         std::to_string(kMaxLogitBiases));
  }
  for (const auto& [key, value] : from->items()) {
    const std::string path = "logit_bias." + shortened(key);
    std::int32_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    // The comparison refuses a second spelling ("07") of an id that may be there already.
    if (error != std::errc() || id < 0 || std::to_string(id) != key) {
      return body.faults().refuse(path, "is no token id");
    }
    const auto bias = read_number(value, {-100, 100}, path, body.faults());
    if (!bias) return;
    biases.emplace_back(id, *bias);
  }
  std::sort(biases.begin(), biases.end());
}

void read_sampling(ObjectReader& body, comm::SamplingParams& sampling) {
  sampling.temperature = 1.0f;  // OpenAI's default
  body.number("temperature", {0, 100}, sampling.temperature);
  body.number("top_p", {0, 1, /*above_low=*/true}, sampling.top_p);
  body.number("min_p", {0, 1}, sampling.min_p);
  body.number("repetition_penalty", {0.01, 100}, sampling.repetition_penalty);
  body.number("presence_penalty", {-2, 2}, sampling.presence_penalty);
  body.number("frequency_penalty", {-2, 2}, sampling.frequency_penalty);
  body.integer("top_k", {.low = -1}, sampling.top_k);
  sampling.top_k = std::max(sampling.top_k, 0);  // vLLM writes -1 for "all", the protocol 0
  body.integer("min_tokens", {}, sampling.min_tokens);
  body.token_ids("stop_token_ids", kMaxStopTokenIds, sampling.stop_token_ids);
  read_logit_bias(body, sampling.logit_bias);
}

void read_stream(ObjectReader& body, CompletionCall& call) {
  body.boolean("stream", call.format.stream);
  const Json* from = body.object("stream_options");
  if (from == nullptr) return;
  if (!call.format.stream) return body.refuse("stream_options", "needs stream = true");
  ObjectReader options(*from, "stream_options", body.faults());
  options.boolean("include_usage", call.format.include_usage);
  options.finish();
}

// Fields that change nothing in the answer. Their types are checked all the same.
void read_labels(ObjectReader& body) {
  std::optional<std::string> label;
  body.text("user", kMaxLabelBytes, label);
  body.text("safety_identifier", kMaxLabelBytes, label);
  body.text("prompt_cache_key", kMaxLabelBytes, label);
  std::optional<std::string> tier;
  body.text("service_tier", kMaxLabelBytes, tier);
  if (tier && *tier != "auto" && *tier != "default") {
    body.refuse("service_tier", "is '" + shortened(*tier) + "', must be auto or default");
  }
  bool store = false;
  body.boolean("store", store);
  const Json* metadata = body.object("metadata");
  if (metadata == nullptr) return;
  if (metadata->size() > kMaxMetadata) {
    body.refuse("metadata", "has " + std::to_string(metadata->size()) +
                                " entries, must have at most " + std::to_string(kMaxMetadata));
  }
  for (const auto& [key, value] : metadata->items()) {
    read_text(value, kMaxLabelBytes, "metadata." + shortened(key), body.faults());
  }
}

void read_response_format(ObjectReader& body) {
  const Json* from = body.object("response_format");
  if (from == nullptr) return;
  ObjectReader format(*from, "response_format", body.faults());
  std::optional<std::string> type;
  format.text("type", kMaxLabelBytes, type);
  if (!type) return format.refuse("type", "is required");
  if (*type != "text") {
    return format.refuse("type", "is '" + shortened(*type) + "', only 'text' is supported");
  }
  format.finish();
}

// All that is the same for every choice of a call, into `request`.
void read_common(ObjectReader& body, const std::string& served_model_name, CompletionCall& call,
                 comm::GenerateRequest& request) {
  read_model(body, served_model_name);
  read_stream(body, call);
  body.integer("n", {1, kMaxN}, call.format.n);
  body.unsigned_integer("seed", request.seed);
  read_stop(body, request.stop);
  read_sampling(body, request.sampling);
  read_response_format(body);
  read_labels(body);
  body.boolean("ignore_eos", request.ignore_eos);
  body.boolean("include_stop_str_in_output", request.include_stop_str_in_output);
  body.boolean("skip_special_tokens", request.skip_special_tokens);
  body.boolean("add_special_tokens", request.add_special_tokens);
  body.boolean("return_token_ids", call.format.return_token_ids);
}

void check_min_tokens(ObjectReader& body, const comm::GenerateRequest& request) {
  if (!request.max_tokens || request.sampling.min_tokens <= *request.max_tokens) return;
  body.refuse("min_tokens", "is " + std::to_string(request.sampling.min_tokens) +
                                ", must be at most max_tokens, which is " +
                                std::to_string(*request.max_tokens));
}

// Adds n choices: the same but for their seeds. Seeds count on from the client's (modulo 2^64), so
// that choice i of n is the answer to the same request with seed + i.
void add_choices(CompletionCall& call, const comm::GenerateRequest& request) {
  for (std::int32_t i = 0; i < call.format.n; ++i) {
    comm::GenerateRequest& choice = call.requests.emplace_back(request);
    if (choice.seed) *choice.seed += static_cast<std::uint64_t>(i);
  }
  call.format.num_choices = call.requests.size();
  call.format.logprobs = request.sampling.logprobs >= 0;
  call.format.stop = request.stop;
}

// ---- Completions ----

bool all_of_type(const Json& array, bool (*is_type)(const Json&)) {
  return std::all_of(array.begin(), array.end(), is_type);
}
bool is_string(const Json& value) { return value.is_string(); }
bool is_array(const Json& value) { return value.is_array(); }
bool is_number(const Json& value) { return value.is_number(); }

std::vector<std::int32_t> read_prompt_ids(const Json& from, const std::string& path,
                                          FaultSlot& faults) {
  std::vector<std::int32_t> ids;
  if (from.empty() || from.size() > kMaxPromptTokens) {
    faults.refuse(path, "has " + std::to_string(from.size()) +
                            " token ids, must have at least 1 and at most " +
                            std::to_string(kMaxPromptTokens));
    return ids;
  }
  ids.reserve(from.size());
  for (std::size_t i = 0; i < from.size(); ++i) {
    const auto id = read_integer(from[i], {}, element_path(path, i), faults);
    if (!id) break;
    ids.push_back(*id);
  }
  return ids;
}

// One prompt: a string, or an array of token ids.
void add_prompt(const Json& from, const std::string& path, FaultSlot& faults, CompletionCall& call,
                comm::GenerateRequest request) {
  if (from.is_string()) {
    request.prompt = read_text(from, kMaxTextBytes, path, faults);
  } else {
    request.prompt_token_ids = read_prompt_ids(from, path, faults);
  }
  if (!faults.fault()) add_choices(call, request);
}

// A prompt, or an array of prompts of one kind.
void read_prompts(ObjectReader& body, CompletionCall& call, const comm::GenerateRequest& request) {
  const Json* from = body.value("prompt");
  if (from == nullptr) return body.refuse("prompt", "is required");
  FaultSlot& faults = body.faults();
  if (from->is_string()) return add_prompt(*from, "prompt", faults, call, request);
  if (!from->is_array()) {
    return body.refuse("prompt", "must be a string or an array, not " + type_phrase(*from));
  }
  if (from->empty()) return body.refuse("prompt", "must not be empty");
  if (all_of_type(*from, is_number)) return add_prompt(*from, "prompt", faults, call, request);
  if (!all_of_type(*from, is_string) && !all_of_type(*from, is_array)) {
    return body.refuse("prompt", "must hold only strings, only token ids or only arrays of them");
  }
  if (from->size() * static_cast<std::size_t>(call.format.n) > kMaxChoices) {
    return body.refuse("prompt", "has " + std::to_string(from->size()) +
                                     " prompts for n = " + std::to_string(call.format.n) +
                                     " answers each, must be at most " +
                                     std::to_string(kMaxChoices) + " answers in all");
  }
  for (std::size_t i = 0; i < from->size() && !faults.fault(); ++i) {
    add_prompt((*from)[i], element_path("prompt", i), faults, call, request);
  }
}

// REQUIRES: prompts and logprobs have been read.
void read_echo(ObjectReader& body, CompletionCall& call) {
  bool echo = false;
  body.boolean("echo", echo);
  if (!echo) return;
  if (call.format.logprobs) return body.refuse("echo", "with logprobs is not supported");
  for (const comm::GenerateRequest& request : call.requests) {
    // Only the backend has a tokenizer.
    if (!request.prompt) return body.refuse("echo", "needs a prompt of text, not of token ids");
    call.format.echo.push_back(*request.prompt);
  }
}

void read_completion_fields(ObjectReader& body, CompletionCall& call,
                            comm::GenerateRequest& request) {
  request.max_tokens = kDefaultCompletionTokens;
  body.integer("max_tokens", {1, kMaxTokens}, request.max_tokens);
  body.integer("logprobs", {0, kMaxLogprobs}, request.sampling.logprobs);
  std::optional<std::int32_t> best_of;
  body.integer("best_of", {1, kMaxN}, best_of);
  if (best_of && *best_of != call.format.n) {
    body.refuse("best_of", "is " + std::to_string(*best_of) + ", must be n, which is " +
                               std::to_string(call.format.n));
  }
  std::optional<std::string> suffix;
  body.text("suffix", kMaxTextBytes, suffix);
  if (suffix && !suffix->empty()) body.refuse("suffix", "is not supported");
}

// ---- Chat ----

void read_chat_max_tokens(ObjectReader& body, std::optional<std::int32_t>& max_tokens) {
  std::optional<std::int32_t> older_name;
  body.integer("max_completion_tokens", {1, kMaxTokens}, max_tokens);
  body.integer("max_tokens", {1, kMaxTokens}, older_name);
  if (max_tokens && older_name && *max_tokens != *older_name) {
    return body.refuse("max_tokens", "is " + std::to_string(*older_name) +
                                         ", but max_completion_tokens is " +
                                         std::to_string(*max_tokens));
  }
  if (older_name) max_tokens = older_name;
}

void read_chat_logprobs(ObjectReader& body, std::int32_t& logprobs) {
  bool wanted = false;
  std::optional<std::int32_t> top;
  body.boolean("logprobs", wanted);
  body.integer("top_logprobs", {0, kMaxLogprobs}, top);
  if (top && !wanted) body.refuse("top_logprobs", "needs logprobs = true");
  if (wanted) logprobs = top.value_or(0);
}

// Which answers a model may give. Calls in its text are not parsed, so none can be forced.
void read_tool_choice(ObjectReader& body) {
  const Json* choice = body.value("tool_choice");
  if (choice != nullptr && *choice != "none" && *choice != "auto") {
    body.refuse("tool_choice", "must be none or auto");
  }
  bool parallel = true;
  body.boolean("parallel_tool_calls", parallel);
  if (!parallel) body.refuse("parallel_tool_calls", "is false, which is not supported");
}

// Variables that the server sets, or that other servers give a meaning beyond the template.
bool is_reserved_variable(const std::string& name) {
  constexpr std::array<std::string_view, 10> kReserved = {
      "messages",        "tools",         "add_generation_prompt",  "bos_token", "eos_token",
      "raise_exception", "chat_template", "continue_final_message", "tokenize",  "strftime_now"};
  return std::find(kReserved.begin(), kReserved.end(), name) != kReserved.end();
}

void read_template_args(ObjectReader& body, std::optional<std::string>& template_args) {
  Json args = Json::object();
  if (const Json* kwargs = body.object("chat_template_kwargs")) {
    for (const auto& [name, value] : kwargs->items()) {
      if (!is_reserved_variable(name)) continue;
      body.faults().refuse("chat_template_kwargs." + name, "cannot be set by a request");
    }
    args = *kwargs;
  }
  Json tools = read_tools(body);
  if (!tools.is_null() && !tools.empty()) args["tools"] = std::move(tools);
  if (args.empty()) return;
  std::string text = json_text(args);
  if (text.size() > kMaxTemplateArgsBytes) {
    return body.refuse(args.contains("tools") ? "tools" : "chat_template_kwargs",
                       "has " + std::to_string(text.size()) + " bytes as JSON, must have at most " +
                           std::to_string(kMaxTemplateArgsBytes));
  }
  template_args = std::move(text);
}

void read_modalities(ObjectReader& body) {
  std::vector<std::string> modalities;
  body.texts("modalities", kMaxStops, kMaxLabelBytes, modalities);
  for (std::size_t i = 0; i < modalities.size(); ++i) {
    if (modalities[i] == "text") continue;
    body.faults().refuse(element_path("modalities", i), "must be text");
  }
}

}  // namespace

Result<CompletionCall> read_completion_request(std::string_view text,
                                               const std::string& served_model_name) {
  const Result<Json> json = parse_json(text);
  if (!json) return json.fault();
  FaultSlot faults;
  ObjectReader body(*json, "", faults);
  CompletionCall call;
  comm::GenerateRequest request;
  read_common(body, served_model_name, call, request);
  read_completion_fields(body, call, request);
  check_min_tokens(body, request);
  read_prompts(body, call, request);
  read_echo(body, call);
  body.finish();
  if (faults.fault()) return *faults.fault();
  return call;
}

Result<CompletionCall> read_chat_request(std::string_view text,
                                         const std::string& served_model_name) {
  const Result<Json> json = parse_json(text);
  if (!json) return json.fault();
  FaultSlot faults;
  ObjectReader body(*json, "", faults);
  CompletionCall call;
  call.format.endpoint = Endpoint::kChat;
  comm::GenerateRequest request;
  read_common(body, served_model_name, call, request);
  read_chat_max_tokens(body, request.max_tokens);
  read_chat_logprobs(body, request.sampling.logprobs);
  check_min_tokens(body, request);
  body.boolean("add_generation_prompt", request.add_generation_prompt);
  read_tool_choice(body);
  read_template_args(body, request.template_args);
  read_modalities(body);
  request.messages = read_messages(body);
  body.finish();
  if (faults.fault()) return *faults.fault();
  add_choices(call, request);
  return call;
}

}  // namespace lockstep::gateway
