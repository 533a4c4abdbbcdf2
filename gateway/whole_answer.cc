#include <iterator>
#include <utility>

#include "gateway/answer_parts.h"
#include "gateway/logprobs.h"

namespace lockstep::gateway {
namespace {

class WholeAnswer : public Answer {
 public:
  WholeAnswer(AnswerFormat format, AnswerInfo info)
      : format_(std::move(format)),
        info_(std::move(info)),
        usage_(format_.n),
        choices_(format_.num_choices) {
    for (std::size_t i = 0; i < format_.echo.size(); ++i) choices_[i].text = format_.echo[i];
  }

  std::string accepted(std::size_t choice, const comm::Accepted& reply) override {
    if (format_.return_token_ids) choices_[choice].prompt_token_ids = reply.prompt_token_ids;
    return {};
  }

  std::string delta(std::size_t choice, const comm::Delta& reply) override {
    Choice& to = choices_[choice];
    to.text += reply.text;
    to.token_ids.insert(to.token_ids.end(), reply.token_ids.begin(), reply.token_ids.end());
    to.logprobs.insert(to.logprobs.end(), reply.logprobs.begin(), reply.logprobs.end());
    return {};
  }

  std::string done(std::size_t choice, const comm::Done& reply) override {
    choices_[choice].done = reply;
    usage_.add(choice, reply.usage);
    return {};
  }

  std::string finish() override {
    Json answer = object_head(info_, is_chat() ? "chat.completion" : "text_completion");
    Json choices = Json::array();
    for (std::size_t i = 0; i < choices_.size(); ++i) choices.push_back(choice_json(i));
    answer["choices"] = std::move(choices);
    answer["usage"] = usage_.json();
    answer["system_fingerprint"] = choices_[0].done.system_fingerprint;
    // All choices of a chat have the same prompt, and the ids stand where vLLM puts them.
    if (is_chat() && format_.return_token_ids) {
      answer["prompt_token_ids"] = choices_[0].prompt_token_ids;
    }
    return json_text(answer);
  }

 private:
  struct Choice {
    std::string text;
    std::vector<std::int32_t> prompt_token_ids;
    std::vector<std::int32_t> token_ids;
    std::vector<comm::DeltaToken> logprobs;
    comm::Done done;
  };

  bool is_chat() const { return format_.endpoint == Endpoint::kChat; }

  Json choice_json(std::size_t index) const {
    const Choice& choice = choices_[index];
    Json item = {{"index", index}};
    if (is_chat()) {
      item["message"] = {{"role", "assistant"}, {"content", choice.text}, {"refusal", nullptr}};
    } else {
      item["text"] = choice.text;
    }
    item["logprobs"] = logprobs(index);
    item["finish_reason"] = choice.done.finish_reason;
    item["stop_reason"] = stop_reason_json(choice.done, format_.stop);
    if (format_.return_token_ids) {
      item["token_ids"] = choice.token_ids;
      if (!is_chat()) item["prompt_token_ids"] = choice.prompt_token_ids;
    }
    return item;
  }

  Json logprobs(std::size_t index) const {
    if (!format_.logprobs) return nullptr;
    const std::vector<comm::DeltaToken>& tokens = choices_[index].logprobs;
    if (is_chat()) return {{"content", chat_logprobs(tokens)}, {"refusal", nullptr}};
    std::size_t text_offset = 0;
    return completion_logprobs(tokens, text_offset);
  }

  AnswerFormat format_;
  AnswerInfo info_;
  UsageTotal usage_;
  std::vector<Choice> choices_;
};

}  // namespace

std::unique_ptr<Answer> make_whole_answer(AnswerFormat format, AnswerInfo info) {
  return std::make_unique<WholeAnswer>(std::move(format), std::move(info));
}

}  // namespace lockstep::gateway
