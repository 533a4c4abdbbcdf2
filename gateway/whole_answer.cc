#include <array>
#include <utility>

#include "gateway/answer_parts.h"
#include "gateway/logprobs.h"

namespace lockstep::gateway {
namespace {

// The text of an object's members, or of an array's elements: without what encloses them.
std::string inner_text(const Json& value) {
  const std::string text = json_text(value);
  return text.substr(1, text.size() - 2);
}

void append_element(std::string& elements, const std::string& text) {
  if (text.empty()) return;
  if (!elements.empty()) elements += ',';
  elements += text;
}

// Completions' arrays, in their order.
constexpr std::array kArrays = {"tokens", "token_logprobs", "top_logprobs", "text_offset"};

// Logprobs are the most of an answer that has them, a hundred times its text. They become JSON as
// they come: all at once, at the end, they would keep the other connections waiting for seconds.
class WholeLogprobs {
 public:
  void add_chat(const std::vector<comm::DeltaToken>& tokens) {
    append_element(content_, inner_text(chat_logprobs(tokens)));
  }
  void add_completion(const std::vector<comm::DeltaToken>& tokens) {
    const Json more = completion_logprobs(tokens, text_offset_);
    for (std::size_t i = 0; i < kArrays.size(); ++i) {
      append_element(arrays_[i], inner_text(more.at(kArrays[i])));
    }
  }

  void append_chat(std::string& text) const {
    text += R"({"content":[)";
    text += content_;
    text += R"(],"refusal":null})";
  }
  void append_completion(std::string& text) const {
    for (std::size_t i = 0; i < kArrays.size(); ++i) {
      text += i == 0 ? "{\"" : ",\"";
      text += kArrays[i];
      text += "\":[";
      text += arrays_[i];
      text += ']';
    }
    text += '}';
  }

 private:
  std::string content_;                             // chat's, elements of an array
  std::array<std::string, kArrays.size()> arrays_;  // completions', elements of each
  std::size_t text_offset_ = 0;
};

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
    if (!format_.logprobs) return {};
    is_chat() ? to.logprobs.add_chat(reply.logprobs) : to.logprobs.add_completion(reply.logprobs);
    return {};
  }

  std::string done(std::size_t choice, const comm::Done& reply) override {
    choices_[choice].done = reply;
    usage_.add(choice, reply.usage);
    return {};
  }

  std::string finish() override {
    const char* object = is_chat() ? "chat.completion" : "text_completion";
    std::string text = '{' + inner_text(object_head(info_, object)) + R"(,"choices":[)";
    for (std::size_t i = 0; i < choices_.size(); ++i) {
      if (i > 0) text += ',';
      append_choice(text, i);
    }
    Json rest = {{"usage", usage_.json()},
                 {"system_fingerprint", choices_[0].done.system_fingerprint}};
    // All choices of a chat have the same prompt, and the ids stand where vLLM puts them.
    if (is_chat() && format_.return_token_ids) {
      rest["prompt_token_ids"] = choices_[0].prompt_token_ids;
    }
    return text + "]," + inner_text(rest) + '}';
  }

 private:
  struct Choice {
    std::string text;
    std::vector<std::int32_t> prompt_token_ids;
    std::vector<std::int32_t> token_ids;
    WholeLogprobs logprobs;
    comm::Done done;
  };

  bool is_chat() const { return format_.endpoint == Endpoint::kChat; }

  void append_choice(std::string& text, std::size_t index) const {
    const Choice& choice = choices_[index];
    Json before = {{"index", index}};
    if (is_chat()) {
      before["message"] = {{"role", "assistant"}, {"content", choice.text}, {"refusal", nullptr}};
    } else {
      before["text"] = choice.text;
    }
    Json after = {{"finish_reason", choice.done.finish_reason},
                  {"stop_reason", stop_reason_json(choice.done, format_.stop)}};
    if (format_.return_token_ids) {
      after["token_ids"] = choice.token_ids;
      if (!is_chat()) after["prompt_token_ids"] = choice.prompt_token_ids;
    }
    text += '{' + inner_text(before) + R"(,"logprobs":)";
    append_logprobs(text, choice.logprobs);
    text += ',' + inner_text(after) + '}';
  }

  void append_logprobs(std::string& text, const WholeLogprobs& logprobs) const {
    if (!format_.logprobs) {
      text += "null";
    } else if (is_chat()) {
      logprobs.append_chat(text);
    } else {
      logprobs.append_completion(text);
    }
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
