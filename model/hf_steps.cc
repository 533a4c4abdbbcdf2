#include "model/hf_steps.h"

namespace lockstep::model {

using nlohmann::json;

std::vector<json> read_steps(const JsonFields& fields, std::string_view key,
                             std::string_view list) {
  const auto part = fields.object(key);
  if (!part) return {};
  std::vector<json> steps;
  if (part->string("type") == "Sequence") {
    const json* sequence = part->array(list);
    if (sequence == nullptr) part->fail_at(list, "is missing");
    steps = sequence->get_ref<const json::array_t&>();
  } else {
    steps.push_back(part->value());
  }
  for (const json& step : steps) {
    const JsonFields named(step, fields.file(), std::string(key) + ".");
    named.require("type", named.string("type"));
  }
  return steps;
}

std::string name_steps(const std::vector<json>& steps) {
  std::string types;
  for (const json& step : steps) {
    types.append(types.empty() ? "" : " + ").append(step.at("type").get_ref<const std::string&>());
  }
  return types.empty() ? "null" : types;
}

}  // namespace lockstep::model
