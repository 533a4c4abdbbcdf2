#include "gateway/answer.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "gateway/answer_parts.h"

namespace lockstep::gateway {

void UsageTotal::add(std::size_t choice, const comm::Usage& usage) {
  completion_tokens_ += usage.completion_tokens;
  if (choice % n_ != 0) return;
  prompt_tokens_ += usage.prompt_tokens;
  cached_tokens_ += usage.cached_tokens;
}

Json UsageTotal::json() const {
  return {{"prompt_tokens", prompt_tokens_},
          {"completion_tokens", completion_tokens_},
          {"total_tokens", prompt_tokens_ + completion_tokens_},
          {"prompt_tokens_details", {{"cached_tokens", cached_tokens_}}}};
}

Json stop_reason_json(const comm::Done& done, const std::vector<std::string>& stop) {
  const std::string& reason = done.stop_reason;
  if (reason.empty()) return nullptr;
  std::int32_t token_id = 0;
  const auto [end, error] = std::from_chars(reason.data(), reason.data() + reason.size(), token_id);
  const bool is_number = error == std::errc() && end == reason.data() + reason.size();
  if (is_number && std::find(stop.begin(), stop.end(), reason) == stop.end()) return token_id;
  return reason;
}

Json object_head(const AnswerInfo& info, const char* object) {
  return {{"id", info.id}, {"object", object}, {"created", info.created}, {"model", info.model}};
}

std::unique_ptr<Answer> make_answer(AnswerFormat format, AnswerInfo info) {
  return format.stream ? make_streamed_answer(std::move(format), std::move(info))
                       : make_whole_answer(std::move(format), std::move(info));
}

int http_status(const Fault& fault) {
  if (fault.code == "invalid_request_error" || fault.code == "context_length_exceeded") return 400;
  if (fault.code == "model_not_found") return 404;
  if (fault.code == "overloaded" || fault.code == "replica_failed" ||
      fault.code == "shutting_down" || fault.code == "client_too_slow") {
    return 503;
  }
  if (fault.code == "timeout") return 504;
  return 500;
}

std::string error_body(const Fault& fault) {
  const bool own_fault = http_status(fault) < 500;
  Json error = {{"message", fault.message},
                {"type", own_fault ? "invalid_request_error" : "server_error"},
                {"param", nullptr},
                {"code", nullptr}};
  if (!fault.param.empty()) error["param"] = fault.param;
  if (fault.code != "invalid_request_error") error["code"] = fault.code;
  return json_text(Json{{"error", std::move(error)}});
}

std::string server_sent_event(const std::string& data) { return "data: " + data + "\n\n"; }

}  // namespace lockstep::gateway
