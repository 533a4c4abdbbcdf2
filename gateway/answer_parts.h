// What streamed and whole answers have in common.
#pragma once

#include <string>
#include <vector>

#include "gateway/answer.h"
#include "gateway/json_text.h"

namespace lockstep::gateway {

// {prompt_tokens, completion_tokens, total_tokens, prompt_tokens_details: {cached_tokens}}. A
// prompt with n answers counts once.
class UsageTotal {
 public:
  explicit UsageTotal(std::int32_t n) : n_(static_cast<std::size_t>(n)) {}
  void add(std::size_t choice, const comm::Usage& usage);
  Json json() const;

 private:
  std::size_t n_;
  std::int64_t prompt_tokens_ = 0;
  std::int64_t completion_tokens_ = 0;
  std::int64_t cached_tokens_ = 0;
};

// vLLM's stop_reason: the stop string, the number of the stop token, or null.
Json stop_reason_json(const comm::Done& done, const std::vector<std::string>& stop);

// {id, object, created, model}, the beginning of every object.
Json object_head(const AnswerInfo& info, const char* object);

std::unique_ptr<Answer> make_streamed_answer(AnswerFormat format, AnswerInfo info);
std::unique_ptr<Answer> make_whole_answer(AnswerFormat format, AnswerInfo info);

}  // namespace lockstep::gateway
