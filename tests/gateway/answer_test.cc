#include "gateway/answer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/gateway/fake_coordinator.h"
#include "tests/gateway/http_client.h"

namespace lockstep::gateway {
namespace {

using nlohmann::json;

const AnswerInfo kInfo = {"cmpl-1", "tiny", 1700000000};

AnswerFormat format_of(Endpoint endpoint, std::size_t num_choices = 1) {
  AnswerFormat format;
  format.endpoint = endpoint;
  format.num_choices = num_choices;
  format.n = static_cast<std::int32_t>(num_choices);
  return format;
}

// All that an answer of the deltas' texts gives, choice by choice.
std::string answer_of(const AnswerFormat& format, const std::vector<comm::Delta>& deltas,
                      const comm::Done& done) {
  const std::unique_ptr<Answer> answer = make_answer(format, kInfo);
  std::string text;
  for (std::size_t i = 0; i < format.num_choices; ++i) {
    text += answer->accepted(i, accepted_reply("x"));
  }
  for (std::size_t i = 0; i < format.num_choices; ++i) {
    for (const comm::Delta& delta : deltas) text += answer->delta(i, delta);
    text += answer->done(i, done);
  }
  return text + answer->finish();
}

std::vector<json> events_of(const std::string& text) {
  std::vector<json> events;
  for (const std::string& data : event_data(text)) {
    events.push_back(data == "[DONE]" ? json(data) : json::parse(data));
  }
  return events;
}

TEST(Answer, OfACompletionIsOpenAisDocument) {
  const std::string text =
      answer_of(format_of(Endpoint::kCompletions),
                {delta_reply("x", "a", 5), delta_reply("x", "b", 6)}, done_reply("x", 2));
  EXPECT_EQ(json::parse(text), json::parse(R"({
      "id": "cmpl-1", "object": "text_completion", "created": 1700000000, "model": "tiny",
      "choices": [{"index": 0, "text": "ab", "logprobs": null, "finish_reason": "stop",
                   "stop_reason": null}],
      "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 2}},
      "system_fingerprint": "fake-fp32"})"));
}

TEST(Answer, OfAChatIsOpenAisDocument) {
  AnswerFormat format = format_of(Endpoint::kChat);
  format.return_token_ids = true;
  const std::string text = answer_of(format, {delta_reply("x", "a", 5)}, done_reply("x", 1));
  EXPECT_EQ(json::parse(text), json::parse(R"({
      "id": "cmpl-1", "object": "chat.completion", "created": 1700000000, "model": "tiny",
      "choices": [{"index": 0, "message": {"role": "assistant", "content": "a", "refusal": null},
                   "logprobs": null, "finish_reason": "stop", "stop_reason": null,
                   "token_ids": [5]}],
      "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4,
                "prompt_tokens_details": {"cached_tokens": 2}},
      "system_fingerprint": "fake-fp32", "prompt_token_ids": [7, 7, 7]})"));
}

TEST(Answer, StreamsAChatInOpenAisChunks) {
  AnswerFormat format = format_of(Endpoint::kChat);
  format.stream = true;
  const auto events = events_of(answer_of(format, {delta_reply("x", "a", 5)}, done_reply("x", 1)));
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[0], json::parse(R"({
      "id": "cmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "tiny",
      "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": null,
                   "finish_reason": null}]})"));
  EXPECT_EQ(events[1]["choices"], json::parse(R"([{"index": 0, "delta": {"content": "a"},
      "logprobs": null, "finish_reason": null}])"));
  EXPECT_EQ(events[2]["choices"], json::parse(R"([{"index": 0, "delta": {}, "logprobs": null,
      "finish_reason": "stop", "stop_reason": null}])"));
  EXPECT_EQ(events[2]["system_fingerprint"], "fake-fp32");
  EXPECT_FALSE(events[2].contains("usage"));
  EXPECT_EQ(events[3], "[DONE]");
}

TEST(Answer, StreamsACompletionInOpenAisChunks) {
  AnswerFormat format = format_of(Endpoint::kCompletions);
  format.stream = true;
  format.return_token_ids = true;
  format.echo = {"Hi"};
  const auto events = events_of(answer_of(format, {delta_reply("x", "a", 5)}, done_reply("x", 1)));
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[0]["object"], "text_completion");
  EXPECT_EQ(events[0]["choices"], json::parse(R"([{"index": 0, "text": "Hi", "logprobs": null,
      "finish_reason": null, "prompt_token_ids": [7, 7, 7]}])"));
  EXPECT_EQ(events[1]["choices"], json::parse(R"([{"index": 0, "text": "a", "logprobs": null,
      "finish_reason": null, "token_ids": [5]}])"));
  EXPECT_EQ(events[2]["choices"], json::parse(R"([{"index": 0, "text": "", "logprobs": null,
      "finish_reason": "stop", "stop_reason": null}])"));
}

TEST(Answer, LeavesOutDeltasThatSayNothing) {
  AnswerFormat format = format_of(Endpoint::kCompletions);
  format.stream = true;
  const std::unique_ptr<Answer> answer = make_answer(format, kInfo);
  EXPECT_EQ(answer->accepted(0, accepted_reply("x")), "");
  EXPECT_EQ(answer->delta(0, delta_reply("x", "", 5)), "");
  EXPECT_NE(answer->delta(0, delta_reply("x", "a", 5)), "");
}

TEST(Answer, EchoesThePromptBeforeTheText) {
  AnswerFormat format = format_of(Endpoint::kCompletions);
  format.echo = {"Say: "};
  const json answer =
      json::parse(answer_of(format, {delta_reply("x", "a", 5)}, done_reply("x", 1)));
  EXPECT_EQ(answer["choices"][0]["text"], "Say: a");
}

TEST(Answer, CountsAPromptOnceForItsChoices) {
  for (const bool stream : {false, true}) {
    AnswerFormat format = format_of(Endpoint::kChat, 3);
    format.stream = format.include_usage = stream;
    const std::string text = answer_of(format, {delta_reply("x", "a", 5)}, done_reply("x", 1));
    const json usage = stream ? events_of(text).rbegin()[1]["usage"] : json::parse(text)["usage"];
    EXPECT_EQ(usage["prompt_tokens"], 3);
    EXPECT_EQ(usage["completion_tokens"], 3);
    EXPECT_EQ(usage["prompt_tokens_details"]["cached_tokens"], 2);
  }
}

// ---- Logprobs ----

// A delta of "é" in two tokens, each half a character, and an impossible third.
comm::Delta delta_with_logprobs() {
  comm::Delta delta = delta_reply("x", "é!", 1);
  delta.token_ids = {1, 2, 3};
  delta.logprobs = {{{1, "\xc3", -0.5f}, {{1, "\xc3", -0.5f}, {9, "e", -1.0f}}},
                    {{2, "\xa9", -0.25f}, {}},
                    {{3, "!", -INFINITY}, {}}};
  return delta;
}

TEST(Answer, WritesChatLogprobsWithTheirBytes) {
  AnswerFormat format = format_of(Endpoint::kChat);
  format.logprobs = true;
  const json answer = json::parse(answer_of(format, {delta_with_logprobs()}, done_reply("x", 3)));
  EXPECT_EQ(answer["choices"][0]["logprobs"], json::parse(R"({"refusal": null, "content": [
      {"token": "\ufffd", "logprob": -0.5, "bytes": [195], "top_logprobs": [
          {"token": "\ufffd", "logprob": -0.5, "bytes": [195]},
          {"token": "e", "logprob": -1.0, "bytes": [101]}]},
      {"token": "\ufffd", "logprob": -0.25, "bytes": [169], "top_logprobs": []},
      {"token": "!", "logprob": -9999.0, "bytes": [33], "top_logprobs": []}]})"));
}

TEST(Answer, WritesCompletionLogprobsAsParallelArrays) {
  AnswerFormat format = format_of(Endpoint::kCompletions);
  format.logprobs = true;
  const json expected = json::parse(R"({
      "tokens": ["bytes:\\xc3", "bytes:\\xa9", "!"],
      "token_logprobs": [-0.5, -0.25, -9999.0],
      "top_logprobs": [{"bytes:\\xc3": -0.5, "e": -1.0}, {"bytes:\\xa9": -0.25}, {"!": -9999.0}],
      "text_offset": [0, 1, 1]})");
  const json answer = json::parse(answer_of(format, {delta_with_logprobs()}, done_reply("x", 3)));
  EXPECT_EQ(answer["choices"][0]["logprobs"], expected);
}

TEST(Answer, JoinsTheLogprobsOfAllDeltas) {
  const comm::Delta whole = delta_with_logprobs();
  std::vector<comm::Delta> parts;
  for (std::size_t i = 0; i < whole.logprobs.size(); ++i) {
    parts.push_back(delta_reply("x", i == 1 ? "é" : i == 2 ? "!" : "", whole.token_ids[i]));
    parts.back().logprobs = {whole.logprobs[i]};
  }
  parts.insert(parts.begin(), comm::Delta{});  // a sign of life
  for (const Endpoint endpoint : {Endpoint::kChat, Endpoint::kCompletions}) {
    AnswerFormat format = format_of(endpoint, 2);
    format.logprobs = true;
    EXPECT_EQ(answer_of(format, parts, done_reply("x", 3)),
              answer_of(format, {whole}, done_reply("x", 3)));
  }
}

TEST(Answer, CountsTextOffsetsOnOverTheChunksOfAStream) {
  AnswerFormat format = format_of(Endpoint::kCompletions);
  format.logprobs = true;
  format.stream = true;
  const auto events = events_of(
      answer_of(format, {delta_with_logprobs(), delta_with_logprobs()}, done_reply("x", 6)));
  EXPECT_EQ(events[1]["choices"][0]["logprobs"]["text_offset"], json::parse("[2, 3, 3]"));
}

// ---- Ends and faults ----

TEST(Answer, TellsStopStringsFromStopTokens) {
  const auto stop_reason = [](const std::string& reason, const std::vector<std::string>& stop) {
    AnswerFormat format = format_of(Endpoint::kCompletions);
    format.stop = stop;
    comm::Done done = done_reply("x", 0);
    done.stop_reason = reason;
    return json::parse(answer_of(format, {}, done))["choices"][0]["stop_reason"];
  };
  EXPECT_EQ(stop_reason("", {}), nullptr);
  EXPECT_EQ(stop_reason("128009", {}), 128009);
  EXPECT_EQ(stop_reason("END", {"END"}), "END");
  EXPECT_EQ(stop_reason("42", {"42"}), "42");
}

TEST(Answer, WritesErrorsAsOpenAiDoes) {
  EXPECT_EQ(json::parse(error_body({"invalid_request_error", "'n' is 0", "n"})), json::parse(R"(
      {"error": {"message": "'n' is 0", "type": "invalid_request_error", "param": "n",
                 "code": null}})"));
  EXPECT_EQ(json::parse(error_body({"overloaded", "full", ""})), json::parse(R"(
      {"error": {"message": "full", "type": "server_error", "param": null,
                 "code": "overloaded"}})"));
}

}  // namespace
}  // namespace lockstep::gateway
