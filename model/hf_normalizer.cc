#include "model/hf_normalizer.h"

#include <string>
#include <vector>

#include "model/fail.h"
#include "model/hf_steps.h"

namespace lockstep::model {

void read_normalizer(const JsonFields& fields, TokenizerSpec& spec) {
  constexpr std::string_view kKey = "normalizer";
  const std::vector<nlohmann::json> steps = read_steps(fields, kKey, "normalizers");
  if (steps.empty()) return;
  const std::string types = name_steps(steps);
  if (types != "NFC") {
    fields.fail_at(
        kKey, in_quotes(types) + " is not supported; it must be null, NFC or an empty Sequence");
  }
  spec.nfc = true;
}

}  // namespace lockstep::model
