#include "model/hf_quantization_fields.h"

#include <string>

#include "model/limits.h"

namespace lockstep::model {

void require_flag(const JsonFields& fields, std::string_view key, bool value) {
  if (fields.boolean(key).value_or(value) == value) return;
  fields.fail_at(key, std::string(value ? "false" : "true") + " is not supported");
}

std::int64_t read_group_size(const JsonFields& fields, bool may_be_all) {
  constexpr std::string_view kKey = "group_size";
  const auto size = fields.require(kKey, fields.integer(kKey, -1, kMaxIntermediateSize));
  if ((size == -1 && may_be_all) || (size >= 1 && size % 32 == 0)) return size;
  fields.fail_at(kKey, std::to_string(size) + (may_be_all ? " is neither -1 nor a multiple of 32"
                                                          : " is not a multiple of 32"));
}

}  // namespace lockstep::model
