#include "model/hf_normalizer.h"

#include <string>
#include <vector>

#include "model/fail.h"

namespace lockstep::model {
namespace {

using nlohmann::json;

// The steps of a normalizer; none of null and of a Sequence of none.
std::vector<json> steps_of(const JsonFields& fields, std::string_view key) {
  const auto found = fields.object(key);
  if (!found) return {};
  if (found->string("type") != "Sequence") return {found->value()};
  const json* sequence = found->array("normalizers");
  if (sequence == nullptr) found->fail_at("normalizers", "is missing");
  return {sequence->begin(), sequence->end()};
}

}  // namespace

void read_normalizer(const JsonFields& fields, TokenizerSpec& spec) {
  constexpr std::string_view kKey = "normalizer";
  const std::vector<json> steps = steps_of(fields, kKey);
  std::string types;
  for (const json& step : steps) {
    const JsonFields named(step, fields.file(), std::string(kKey) + ".");
    types += (types.empty() ? "" : " + ") + named.require("type", named.string("type"));
  }
  if (types == "NFC") {
    spec.nfc = true;
  } else if (!steps.empty()) {
    fields.fail_at(kKey, in_quotes(types) +
                             " is not supported; it must be null, NFC or an empty "
                             "Sequence");
  }
}

}  // namespace lockstep::model
