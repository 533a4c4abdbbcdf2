#include "coordinator/stop_conditions.h"

#include <algorithm>

namespace lockstep::coordinator {

std::string to_string(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop: return "stop";
    case FinishReason::length: return "length";
    case FinishReason::abort: return "abort";
  }
  return "unknown";
}

std::optional<Finish> check_stop(const StopConditions& conditions, std::int32_t token_id,
                                 std::int32_t num_generated) {
  const auto is_in = [token_id](const std::vector<std::int32_t>& ids) {
    return std::find(ids.begin(), ids.end(), token_id) != ids.end();
  };
  if (num_generated > conditions.min_tokens) {
    if (is_in(conditions.eos_token_ids)) return Finish{FinishReason::stop, "", true};
    if (is_in(conditions.stop_token_ids)) {
      return Finish{FinishReason::stop, std::to_string(token_id), true};
    }
  }
  if (num_generated >= conditions.max_tokens) return Finish{FinishReason::length, "", false};
  return std::nullopt;
}

}  // namespace lockstep::coordinator
