// The sampling parameters that clients send and plans carry, with the limits that hold for both.
#pragma once

#include "comm/message.h"
#include "comm/message_fields.h"

namespace lockstep::comm {

template <class Io>
void sampling_fields(Io& io) {
  using P = SamplingParams;
  io.optional("temperature", &P::temperature, {.low = 0, .high = 100});
  io.optional("top_p", &P::top_p, {.low = 0, .high = 1, .above_low = true});
  io.optional("top_k", &P::top_k, {.low = 0});
  io.optional("min_p", &P::min_p, {.low = 0, .high = 1});
  // Not from 0: a logit divided by it, and then by the least temperature, stays finite.
  io.optional("repetition_penalty", &P::repetition_penalty, {.low = 0.01, .high = 100});
  io.optional("presence_penalty", &P::presence_penalty, {.low = -2, .high = 2});
  io.optional("frequency_penalty", &P::frequency_penalty, {.low = -2, .high = 2});
  io.optional("logprobs", &P::logprobs, {.low = -1, .high = 20});
  io.optional("min_tokens", &P::min_tokens, {.low = 0});
  io.optional("logit_bias", &P::logit_bias, {.low = -100, .high = 100, .max_length = 1024});
}

}  // namespace lockstep::comm
