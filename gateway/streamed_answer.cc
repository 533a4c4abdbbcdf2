#include <utility>

#include "gateway/answer_parts.h"
#include "gateway/logprobs.h"

namespace lockstep::gateway {
namespace {

class StreamedAnswer : public Answer {
 public:
  StreamedAnswer(AnswerFormat format, AnswerInfo info)
      : format_(std::move(format)),
        info_(std::move(info)),
        usage_(format_.n),
        text_offsets_(format_.num_choices) {}

  std::string accepted(std::size_t choice, const comm::Accepted& reply) override {
    Json prompt_ids;  // null: not asked for
    if (format_.return_token_ids) prompt_ids = reply.prompt_token_ids;
    if (is_chat()) {
      // The first chunk of a choice tells the role.
      Json chunk = choice_chunk({{"index", choice},
                                 {"delta", {{"role", "assistant"}, {"content", ""}}},
                                 {"logprobs", nullptr},
                                 {"finish_reason", nullptr}});
      if (format_.return_token_ids) chunk["prompt_token_ids"] = std::move(prompt_ids);
      return event(chunk);
    }
    if (format_.echo.empty() && !format_.return_token_ids) return {};
    Json item = {{"index", choice},
                 {"text", format_.echo.empty() ? "" : format_.echo[choice]},
                 {"logprobs", nullptr},
                 {"finish_reason", nullptr}};
    if (format_.return_token_ids) item["prompt_token_ids"] = std::move(prompt_ids);
    return event(choice_chunk(std::move(item)));
  }

  std::string delta(std::size_t choice, const comm::Delta& reply) override {
    const bool ids = format_.return_token_ids && !reply.token_ids.empty();
    if (reply.text.empty() && reply.logprobs.empty() && !ids) return {};
    Json item = {{"index", choice}};
    if (is_chat()) {
      item["delta"] = {{"content", reply.text}};
    } else {
      item["text"] = reply.text;
    }
    item["logprobs"] = logprobs(choice, reply);
    item["finish_reason"] = nullptr;
    if (format_.return_token_ids) item["token_ids"] = reply.token_ids;
    return event(choice_chunk(std::move(item)));
  }

  std::string done(std::size_t choice, const comm::Done& reply) override {
    usage_.add(choice, reply.usage);
    fingerprint_ = reply.system_fingerprint;
    Json item = {{"index", choice}};
    if (is_chat()) {
      item["delta"] = Json::object();
    } else {
      item["text"] = "";
    }
    item["logprobs"] = nullptr;
    item["finish_reason"] = reply.finish_reason;
    item["stop_reason"] = stop_reason_json(reply, format_.stop);
    return event(choice_chunk(std::move(item)));
  }

  std::string finish() override {
    std::string text;
    if (format_.include_usage) {
      Json chunk = head();
      chunk["choices"] = Json::array();
      chunk["usage"] = usage_.json();
      text = event(chunk);
    }
    return text + server_sent_event("[DONE]");
  }

 private:
  bool is_chat() const { return format_.endpoint == Endpoint::kChat; }

  Json head() const {
    Json chunk = object_head(info_, is_chat() ? "chat.completion.chunk" : "text_completion");
    // Known only from the first finished choice on.
    if (!fingerprint_.empty()) chunk["system_fingerprint"] = fingerprint_;
    return chunk;
  }

  Json choice_chunk(Json item) const {
    Json chunk = head();
    chunk["choices"] = Json::array({std::move(item)});
    if (format_.include_usage) chunk["usage"] = nullptr;  // the last chunk has it
    return chunk;
  }

  Json logprobs(std::size_t choice, const comm::Delta& reply) {
    if (!format_.logprobs) return nullptr;
    if (is_chat()) return {{"content", chat_logprobs(reply.logprobs)}};
    return completion_logprobs(reply.logprobs, text_offsets_[choice]);
  }

  static std::string event(const Json& chunk) { return server_sent_event(json_text(chunk)); }

  AnswerFormat format_;
  AnswerInfo info_;
  UsageTotal usage_;
  std::string fingerprint_;
  std::vector<std::size_t> text_offsets_;
};

}  // namespace

std::unique_ptr<Answer> make_streamed_answer(AnswerFormat format, AnswerInfo info) {
  return std::make_unique<StreamedAnswer>(std::move(format), std::move(info));
}

}  // namespace lockstep::gateway
