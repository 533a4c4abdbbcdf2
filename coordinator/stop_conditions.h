// When a token ends an answer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace lockstep::coordinator {

enum class FinishReason { stop, length, abort };

// The reason's name in the client protocol and in metrics.
std::string to_string(FinishReason reason);

// Why an answer ended.
struct Finish {
  FinishReason reason = FinishReason::stop;
  // The stop string that matched, or the digits of the client's own stop token; else empty.
  std::string stop_reason;
  // The last token only marked the end: its text is not part of the answer.
  bool by_token = false;
};

struct StopConditions {
  std::vector<std::int32_t> eos_token_ids;   // of the model; empty when the client ignores them
  std::vector<std::int32_t> stop_token_ids;  // the client's own
  std::int32_t min_tokens = 0;  // no stop token counts among the first so many of the answer
  std::int32_t max_tokens = 0;  // of the answer, at least 1; what the context holds included
};

// Whether `token_id`, the `num_generated`-th token of the answer (1 for the first), ends it. A stop
// token that is also the last one allowed is a stop.
std::optional<Finish> check_stop(const StopConditions& conditions, std::int32_t token_id,
                                 std::int32_t num_generated);

}  // namespace lockstep::coordinator
