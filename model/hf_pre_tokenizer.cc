#include "model/hf_pre_tokenizer.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <vector>

#include "model/fail.h"

namespace lockstep::model {
namespace {

using nlohmann::json;

struct SplitPattern {
  std::string_view name;
  std::string_view regex;
};

// As in the models' tokenizer.json.
constexpr SplitPattern kSplitPatterns[] = {
    {"llama3",
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    {"qwen2",
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    {"tekken",
     R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
};

// GPT-2's pattern (use_regex) or only its byte alphabet; never with a space put in front.
bool is_byte_level(const json& step, bool use_regex) {
  return step.value("type", "") == "ByteLevel" && !step.value("add_prefix_space", true) &&
         step.value("use_regex", true) == use_regex;
}

bool is_single_digits(const json& step) {
  return step.value("type", "") == "Digits" && step.value("individual_digits", false);
}

// The name of the pattern that a step splits by.
std::optional<std::string> find_split(const json& step) {
  if (step.value("type", "") != "Split" || step.value("behavior", "") != "Isolated" ||
      step.value("invert", false)) {
    return std::nullopt;
  }
  const std::string regex = step.value("pattern", json::object()).value("Regex", "");
  const auto found = std::ranges::find(kSplitPatterns, regex, &SplitPattern::regex);
  if (found == std::end(kSplitPatterns)) return std::nullopt;
  return std::string(found->name);
}

std::optional<std::string> recognize(const std::vector<json>& steps) {
  if (steps.size() == 1 && is_byte_level(steps[0], true)) return "gpt2";
  if (steps.size() == 2 && is_single_digits(steps[0]) && is_byte_level(steps[1], true)) {
    return "smollm";
  }
  if (steps.size() == 2 && is_byte_level(steps[1], false)) return find_split(steps[0]);
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
                           "smollm (Digits + ByteLevel), and Split by the pattern of llama3, "
                           "qwen2 or tekken + ByteLevel");
}

}  // namespace lockstep::model
