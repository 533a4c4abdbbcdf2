#include "model/hf_pre_tokenizer.h"

#include <optional>
#include <vector>

#include "model/fail.h"

namespace lockstep::model {
namespace {

using nlohmann::json;

// Llama 3's pattern, as in its tokenizer.json.
constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// GPT-2's pattern (use_regex) or only its byte alphabet; never with a space put in front.
bool is_byte_level(const json& step, bool use_regex) {
  return step.value("type", "") == "ByteLevel" && !step.value("add_prefix_space", true) &&
         step.value("use_regex", true) == use_regex;
}

bool is_single_digits(const json& step) {
  return step.value("type", "") == "Digits" && step.value("individual_digits", false);
}

bool is_llama3_split(const json& step) {
  if (step.value("type", "") != "Split" || step.value("behavior", "") != "Isolated" ||
      step.value("invert", false)) {
    return false;
  }
  return step.value("pattern", json::object()).value("Regex", "") == kLlama3Pattern;
}

std::optional<std::string> recognize(const std::vector<json>& steps) {
  if (steps.size() == 1 && is_byte_level(steps[0], true)) return "gpt2";
  if (steps.size() == 2 && is_single_digits(steps[0]) && is_byte_level(steps[1], true)) {
    return "smollm";
  }
  if (steps.size() == 2 && is_llama3_split(steps[0]) && is_byte_level(steps[1], false)) {
    return "llama3";
  }
  return std::nullopt;
}

}  // namespace

std::string recognize_pre_tokenizer(const JsonFields& fields) {
  constexpr std::string_view kKey = "pre_tokenizer";
  const JsonFields found = fields.require(kKey, fields.object(kKey));
  std::vector<json> steps{found.value()};
  if (found.string("type") == "Sequence") {
    const json* sequence = found.array("pretokenizers");
    if (sequence == nullptr) found.fail_at("pretokenizers", "is missing");
    steps.assign(sequence->begin(), sequence->end());
  }
  std::string types;
  try {
    if (auto key = recognize(steps)) return *std::move(key);
    for (const json& step : steps) {
      types += (types.empty() ? "" : " + ") + std::string(step.value("type", "?"));
    }
  } catch (const json::exception& error) {
    fields.fail_at(kKey, std::string("has a member of the wrong type: ") + error.what());
  }
  fields.fail_at(kKey, in_quotes(types) +
                           " with these options is not supported; supported are gpt2 (ByteLevel), "
                           "smollm (Digits + ByteLevel), llama3 (Split by Llama 3's pattern + "
                           "ByteLevel)");
}

}  // namespace lockstep::model
