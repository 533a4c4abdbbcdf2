#include "gateway/openai_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <optional>

namespace lockstep::gateway {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;
using testing::SizeIs;

// A body that is good but for `members` (JSON text), which are added or replaced.
std::string completion_with(const std::string& members) {
  json body = {{"model", "tiny"}, {"prompt", "Hi"}};
  body.update(json::parse(members));
  return body.dump();
}
std::string chat_with(const std::string& members) {
  json body = {{"model", "tiny"}, {"messages", {{{"role", "user"}, {"content", "Hi"}}}}};
  body.update(json::parse(members));
  return body.dump();
}

Result<CompletionCall> read(Endpoint endpoint, const std::string& body) {
  return endpoint == Endpoint::kChat ? read_chat_request(body, "tiny")
                                     : read_completion_request(body, "tiny");
}

// ---- What is refused ----

struct BadMember {
  const char* members;
  const char* param;
  const char* message = "";  // a part of it
};

void expect_refused(Endpoint endpoint, const std::string& body, const BadMember& bad) {
  const Result<CompletionCall> call = read(endpoint, body);
  ASSERT_FALSE(call.ok()) << bad.members;
  EXPECT_EQ(call.fault().param, bad.param) << bad.members;
  EXPECT_THAT(call.fault().message, HasSubstr(bad.message)) << bad.members;
  if (*bad.param != '\0') {
    EXPECT_THAT(call.fault().message, HasSubstr(bad.param)) << bad.members;
  }
  EXPECT_EQ(call.fault().code, "invalid_request_error") << bad.members;
}

const BadMember kBadInBoth[] = {
    {R"({"model": null})", "model", "required"},
    {R"({"model": 7})", "model", "a string, not an integer"},
    {R"({"temperature": -0.1})", "temperature", "at least 0"},
    {R"({"temperature": 100.5})", "temperature", "at most 100"},
    {R"({"temperature": "hot"})", "temperature", "a number, not a string"},
    {R"({"temperature": true})", "temperature", "not a boolean"},
    {R"({"temperature": 1e300})", "temperature", "at most 100"},
    {R"({"top_p": 0})", "top_p", "above 0"},
    {R"({"top_p": 1e-60})", "top_p", "above 0"},
    {R"({"top_p": 1.01})", "top_p", "at most 1"},
    {R"({"top_p": []})", "top_p", "not an array"},
    {R"({"min_p": -1})", "min_p"},
    {R"({"min_p": 2})", "min_p"},
    {R"({"top_k": -2})", "top_k", "at least -1"},
    {R"({"top_k": 1.5})", "top_k", "an integer, not a number"},
    {R"({"top_k": 4294967296})", "top_k", "at most 2147483647"},
    {R"({"repetition_penalty": 0})", "repetition_penalty", "at least 0.01"},
    {R"({"repetition_penalty": 1e-38})", "repetition_penalty", "at least 0.01"},
    {R"({"repetition_penalty": 101})", "repetition_penalty"},
    {R"({"presence_penalty": 2.1})", "presence_penalty", "at most 2"},
    {R"({"frequency_penalty": -2.1})", "frequency_penalty", "at least -2"},
    {R"({"n": 0})", "n", "at least 1"},
    {R"({"n": 17})", "n", "at most 16"},
    {R"({"n": -1})", "n"},
    {R"({"n": 18446744073709551615})", "n"},
    {R"({"n": 1.0})", "n", "an integer"},
    {R"({"seed": -1})", "seed", "at least 0"},
    {R"({"seed": 1.5})", "seed", "an integer"},
    {R"({"seed": 18446744073709551616})", "seed", "at most 18446744073709551615"},
    {R"({"max_tokens": 0})", "max_tokens", "at least 1"},
    {R"({"max_tokens": -5})", "max_tokens"},
    {R"({"max_tokens": 2147483648})", "max_tokens", "at most 2147483647"},
    {R"({"max_tokens": 9223372036854775808})", "max_tokens"},
    {R"({"max_tokens": "16"})", "max_tokens", "not a string"},
    {R"({"min_tokens": -1})", "min_tokens"},
    {R"({"min_tokens": 9, "max_tokens": 8})", "min_tokens", "at most max_tokens, which is 8"},
    {R"({"stop": ""})", "stop", "empty"},
    {R"({"stop": ["a", ""]})", "stop[1]", "empty"},
    {R"({"stop": ["a", 1]})", "stop[1]", "a string"},
    {R"({"stop": 5})", "stop"},
    {R"({"stop": {"a": 1}})", "stop", "not an object"},
    {R"({"stop": ["1","2","3","4","5","6","7","8","9","10","11","12","13","14","15","16","17"]})",
     "stop", "at most 16"},
    {R"({"stop_token_ids": [-1]})", "stop_token_ids[0]"},
    {R"({"stop_token_ids": 7})", "stop_token_ids", "an array"},
    {R"({"logit_bias": [1]})", "logit_bias", "an object"},
    {R"({"logit_bias": {"x": 1}})", "logit_bias.x", "no token id"},
    {R"({"logit_bias": {"-1": 1}})", "logit_bias.-1", "no token id"},
    {R"({"logit_bias": {"07": 1}})", "logit_bias.07", "no token id"},
    {R"({"logit_bias": {"99999999999": 1}})", "logit_bias.99999999999", "no token id"},
    {R"({"logit_bias": {"7": 101}})", "logit_bias.7", "at most 100"},
    {R"({"logit_bias": {"7": "1"}})", "logit_bias.7", "a number"},
    {R"({"stream": 1})", "stream", "a boolean"},
    {R"({"stream": "true"})", "stream", "a boolean"},
    {R"({"stream_options": {"include_usage": true}})", "stream_options", "stream = true"},
    {R"({"stream": true, "stream_options": 1})", "stream_options", "an object"},
    {R"({"stream": true, "stream_options": {"include_usage": 1}})", "stream_options.include_usage"},
    {R"({"stream": true, "stream_options": {"more": 1}})", "stream_options.more",
     "not a supported field"},
    {R"({"response_format": {"type": "json_object"}})", "response_format.type", "json_object"},
    {R"({"response_format": {}})", "response_format.type", "required"},
    {R"({"response_format": {"type": "text", "schema": {}}})", "response_format.schema"},
    {R"({"response_format": "text"})", "response_format", "an object"},
    {R"({"user": 5})", "user", "a string"},
    {R"({"store": "yes"})", "store", "a boolean"},
    {R"({"metadata": {"a": 1}})", "metadata.a", "a string"},
    {R"({"metadata": []})", "metadata", "an object"},
    {R"({"service_tier": "flex"})", "service_tier", "auto or default"},
    {R"({"ignore_eos": 0})", "ignore_eos", "a boolean"},
    {R"({"return_token_ids": "no"})", "return_token_ids"},
    {R"({"skip_special_tokens": 1})", "skip_special_tokens"},
    {R"({"add_special_tokens": 1})", "add_special_tokens"},
    {R"({"include_stop_str_in_output": 1})", "include_stop_str_in_output"},
    {R"({"guided_json": {}})", "guided_json", "not a supported field"},
    {R"({"temprature": 1})", "temprature", "not a supported field"},
};

TEST(OpenAiRequest, RefusesBadMembersByNameOnBothEndpoints) {
  for (const BadMember& bad : kBadInBoth) {
    expect_refused(Endpoint::kCompletions, completion_with(bad.members), bad);
    expect_refused(Endpoint::kChat, chat_with(bad.members), bad);
  }
}

const BadMember kBadCompletion[] = {
    {R"({"prompt": null})", "prompt", "required"},
    {R"({"prompt": 5})", "prompt", "a string or an array"},
    {R"({"prompt": {}})", "prompt"},
    {R"({"prompt": []})", "prompt", "empty"},
    {R"({"prompt": [[]]})", "prompt[0]", "at least 1"},
    {R"({"prompt": [1, "a"]})", "prompt", "only"},
    {R"({"prompt": [null]})", "prompt", "only"},
    {R"({"prompt": [1, -2]})", "prompt[1]", "at least 0"},
    {R"({"prompt": [1, 2.5]})", "prompt[1]", "an integer"},
    {R"({"prompt": [[1], [2, 4294967296]]})", "prompt[1][1]", "at most 2147483647"},
    {R"({"prompt": [[1], ["a"]]})", "prompt[1][0]", "an integer"},
    {R"({"prompt": ["1","2","3","4","5","6","7","8","9"], "n": 16})", "prompt", "128"},
    {R"({"logprobs": 21})", "logprobs", "at most 20"},
    {R"({"logprobs": -1})", "logprobs"},
    {R"({"logprobs": true})", "logprobs", "an integer"},
    {R"({"echo": true, "logprobs": 0})", "echo", "logprobs"},
    {R"({"echo": true, "prompt": [1, 2]})", "echo", "text"},
    {R"({"echo": "yes"})", "echo", "a boolean"},
    {R"({"best_of": 2})", "best_of", "must be n"},
    {R"({"suffix": "end"})", "suffix", "not supported"},
    {R"({"messages": []})", "messages", "not a supported field"},
    {R"({"max_completion_tokens": 5})", "max_completion_tokens", "not a supported field"},
};

TEST(OpenAiRequest, RefusesBadMembersOfACompletionByName) {
  for (const BadMember& bad : kBadCompletion) {
    expect_refused(Endpoint::kCompletions, completion_with(bad.members), bad);
  }
}

const BadMember kBadChat[] = {
    {R"({"messages": null})", "messages", "required"},
    {R"({"messages": []})", "messages", "at least 1"},
    {R"({"messages": "Hi"})", "messages", "an array"},
    {R"({"messages": ["Hi"]})", "messages[0]", "an object"},
    {R"({"messages": [{"content": "Hi"}]})", "messages[0].role", "required"},
    {R"({"messages": [{"role": "root", "content": "Hi"}]})", "messages[0].role", "'root'"},
    {R"({"messages": [{"role": "user"}]})", "messages[0].content", "required"},
    {R"({"messages": [{"role": "assistant", "content": null}]})", "messages[0].content"},
    {R"({"messages": [{"role": "user", "content": 7}]})", "messages[0].content"},
    {R"({"messages": [{"role": "user", "content": ["a"]}]})", "messages[0].content[0]"},
    {R"({"messages": [{"role": "user", "content": [{"text": "a"}]}]})",
     "messages[0].content[0].type", "required"},
    {R"({"messages": [{"role": "user", "content": [{"type": "text"}]}]})",
     "messages[0].content[0].text", "required"},
    {R"({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url":
        {"url": "http://169.254.169.254/"}}]}]})",
     "messages[0].content[0].type", "'image_url', only 'text'"},
    {R"({"messages": [{"role": "user", "content": "a", "tool_calls": []}]})",
     "messages[0].tool_calls", "not a supported field"},
    {R"({"messages": [{"role": "user", "content": "a", "name": 1}]})", "messages[0].name"},
    {R"({"messages": [{"role": "tool", "content": "a"}]})", "messages[0].tool_call_id", "required"},
    {R"({"messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}]})",
     "messages[0].tool_calls[0].function", "required"},
    {R"({"messages": [{"role": "assistant", "tool_calls": [{"id": "1", "function":
        {"name": "f", "arguments": {}}}]}]})",
     "messages[0].tool_calls[0].function.arguments", "a string"},
    {R"({"messages": [{"role": "assistant", "tool_calls": [{"id": "1", "function":
        {"name": "f", "arguments": "[1"}}]}]})",
     "messages[0].tool_calls[0].function.arguments", "JSON object"},
    {R"({"prompt": "Hi"})", "prompt", "not a supported field"},
    {R"({"logprobs": 1})", "logprobs", "a boolean"},
    {R"({"top_logprobs": 2})", "top_logprobs", "needs logprobs"},
    {R"({"logprobs": true, "top_logprobs": 21})", "top_logprobs", "at most 20"},
    {R"({"max_tokens": 5, "max_completion_tokens": 6})", "max_tokens", "is 6"},
    {R"({"max_completion_tokens": 0})", "max_completion_tokens"},
    {R"({"tool_choice": "required"})", "tool_choice"},
    {R"({"tool_choice": {"type": "function", "function": {"name": "f"}}})", "tool_choice"},
    {R"({"parallel_tool_calls": false})", "parallel_tool_calls"},
    {R"({"tools": [{"type": "retrieval"}]})", "tools[0].type", "'retrieval'"},
    {R"({"tools": [{"type": "function"}]})", "tools[0].function", "required"},
    {R"({"tools": [{"type": "function", "function": {}}]})", "tools[0].function.name"},
    {R"({"tools": [{"type": "function", "function": {"name": "f", "strict": true}}]})",
     "tools[0].function.strict"},
    {R"({"chat_template_kwargs": {"chat_template": "{{ 1 }}"}})",
     "chat_template_kwargs.chat_template", "cannot be set"},
    {R"({"chat_template_kwargs": {"messages": []}})", "chat_template_kwargs.messages"},
    {R"({"chat_template_kwargs": 1})", "chat_template_kwargs", "an object"},
    {R"({"add_generation_prompt": "no"})", "add_generation_prompt"},
    {R"({"modalities": ["text", "audio"]})", "modalities[1]"},
    {R"({"functions": []})", "functions", "not a supported field"},
};

TEST(OpenAiRequest, RefusesBadMembersOfAChatByName) {
  for (const BadMember& bad : kBadChat) {
    expect_refused(Endpoint::kChat, chat_with(bad.members), bad);
  }
}

TEST(OpenAiRequest, RefusesBodiesThatAreNoStrictJson) {
  const std::string deep = std::string(70, '[') + std::string(70, ']');
  const std::pair<std::string, BadMember> cases[] = {
      {"", {"empty body", "", "not valid JSON"}},
      {"{", {"half", "", "not valid JSON"}},
      {"[]", {"array", "", "a JSON object, not an array"}},
      {"\"prompt\"", {"string", "", "a JSON object, not a string"}},
      {R"({"model": "tiny", "prompt": "Hi"} x)", {"rest", "", "not valid JSON"}},
      {R"({"prompt": NaN})", {"NaN", "prompt", ""}},
      {R"({"model": "tiny", "temperature": 1e999})", {"1e999", "temperature", "out of range"}},
      {R"({"prompt": "a", "prompt": "b"})", {"twice", "prompt", "twice"}},
      {R"({"logit_bias": {"7": 1, "7": 2}})", {"twice inside", "logit_bias.7", "twice"}},
      {R"({"messages": [{"role": "user", "role": "system"}]})",
       {"twice in an element", "messages[0].role", "twice"}},
      {"{\"prompt\": \"\xff\"}", {"not UTF-8", "prompt", ""}},
      {R"({"prompt": "\ud800"})", {"half a surrogate pair", "prompt", ""}},
  };
  for (const auto& [body, bad] : cases) {
    const Result<CompletionCall> call = read(Endpoint::kCompletions, body);
    ASSERT_FALSE(call.ok()) << bad.members;
    EXPECT_EQ(call.fault().param, bad.param) << bad.members;
    EXPECT_THAT(call.fault().message, HasSubstr(bad.message)) << bad.members;
  }
  const Result<CompletionCall> call = read(Endpoint::kChat, "{\"tools\": " + deep + "}");
  ASSERT_FALSE(call.ok());
  EXPECT_THAT(call.fault().param, testing::StartsWith("tools[0][0]"));
  EXPECT_THAT(call.fault().message, HasSubstr("deeper than 64"));
}

TEST(OpenAiRequest, RefusesTextsBeyondTheirLimits) {
  const std::string long_text((std::size_t{4} << 20) + 1, 'a');
  const auto param_of = [](const Result<CompletionCall>& call) {
    return call.ok() ? "" : call.fault().param;
  };
  EXPECT_EQ(
      param_of(read(Endpoint::kCompletions, completion_with(json{{"prompt", long_text}}.dump()))),
      "prompt");
  EXPECT_EQ(param_of(read(Endpoint::kCompletions,
                          completion_with(json{{"stop", std::string(1025, 'a')}}.dump()))),
            "stop");
  const json kwargs = {{"chat_template_kwargs", {{"a", std::string(65536, 'a')}}}};
  EXPECT_EQ(param_of(read(Endpoint::kChat, chat_with(kwargs.dump()))), "chat_template_kwargs");
  json biases = json::object();
  for (int i = 0; i < 1025; ++i) biases[std::to_string(i)] = 1;
  EXPECT_EQ(param_of(read(Endpoint::kChat, chat_with(json{{"logit_bias", biases}}.dump()))),
            "logit_bias");
}

TEST(OpenAiRequest, KeepsLongNamesOutOfItsMessages) {
  const json members = {{std::string(100'000, 'x'), 1}};
  const Result<CompletionCall> call = read(Endpoint::kChat, chat_with(members.dump()));
  ASSERT_FALSE(call.ok());
  EXPECT_LT(call.fault().message.size(), 200u);
}

TEST(OpenAiRequest, NamesTheServedModelWhenAnotherIsAskedFor) {
  const Result<CompletionCall> call = read(Endpoint::kChat, chat_with(R"({"model": "gpt-4o"})"));
  ASSERT_FALSE(call.ok());
  EXPECT_EQ(call.fault().code, "model_not_found");
  EXPECT_EQ(call.fault().param, "model");
  EXPECT_THAT(call.fault().message, testing::AllOf(HasSubstr("'gpt-4o'"), HasSubstr("'tiny'")));
}

// ---- What is read ----

CompletionCall must_read(Endpoint endpoint, const std::string& body) {
  Result<CompletionCall> call = read(endpoint, body);
  if (!call.ok()) throw std::runtime_error(call.fault().message);
  return *call;
}

TEST(OpenAiRequest, HasOpenAisDefaults) {
  const CompletionCall call = must_read(Endpoint::kCompletions, completion_with("{}"));
  ASSERT_THAT(call.requests, SizeIs(1));
  const comm::GenerateRequest& request = call.requests[0];
  EXPECT_EQ(request.prompt, "Hi");
  EXPECT_EQ(request.max_tokens, 16);
  EXPECT_EQ(request.sampling.temperature, 1.0f);
  EXPECT_EQ(request.sampling.top_p, 1.0f);
  EXPECT_EQ(request.sampling.top_k, 0);
  EXPECT_EQ(request.sampling.logprobs, -1);
  EXPECT_EQ(request.seed, std::nullopt);
  EXPECT_FALSE(call.format.stream);
  EXPECT_EQ(must_read(Endpoint::kChat, chat_with("{}")).requests[0].max_tokens, std::nullopt);
}

TEST(OpenAiRequest, ReadsEverySamplingField) {
  const CompletionCall call = must_read(Endpoint::kCompletions, completion_with(R"({
      "temperature": 0.25, "top_p": 0.5, "top_k": 40, "min_p": 0.125, "repetition_penalty": 1.5,
      "presence_penalty": -1.5, "frequency_penalty": 2, "seed": 18446744073709551615,
      "logprobs": 5, "min_tokens": 3, "max_tokens": 30, "stop_token_ids": [9, 2],
      "logit_bias": {"100": 1.5, "20": -100}, "stop": ["\n", "END"], "ignore_eos": true,
      "include_stop_str_in_output": true, "skip_special_tokens": false,
      "add_special_tokens": false, "return_token_ids": true})"));
  const comm::GenerateRequest& request = call.requests.at(0);
  const comm::SamplingParams& sampling = request.sampling;
  EXPECT_EQ(sampling.temperature, 0.25f);
  EXPECT_EQ(sampling.top_p, 0.5f);
  EXPECT_EQ(sampling.top_k, 40);
  EXPECT_EQ(sampling.min_p, 0.125f);
  EXPECT_EQ(sampling.repetition_penalty, 1.5f);
  EXPECT_EQ(sampling.presence_penalty, -1.5f);
  EXPECT_EQ(sampling.frequency_penalty, 2.0f);
  EXPECT_EQ(request.seed, 18446744073709551615u);
  EXPECT_EQ(sampling.logprobs, 5);
  EXPECT_EQ(sampling.min_tokens, 3);
  EXPECT_EQ(request.max_tokens, 30);
  EXPECT_THAT(sampling.stop_token_ids, ElementsAre(9, 2));
  EXPECT_THAT(sampling.logit_bias, ElementsAre(Pair(20, -100.0f), Pair(100, 1.5f)));
  EXPECT_THAT(request.stop, ElementsAre("\n", "END"));
  EXPECT_TRUE(request.ignore_eos);
  EXPECT_TRUE(request.include_stop_str_in_output);
  EXPECT_FALSE(request.skip_special_tokens);
  EXPECT_FALSE(request.add_special_tokens);
  EXPECT_TRUE(call.format.return_token_ids);
  EXPECT_TRUE(call.format.logprobs);
}

TEST(OpenAiRequest, TakesNullAsAbsentAndMinusOneAsAllTokens) {
  const CompletionCall call = must_read(
      Endpoint::kCompletions,
      completion_with(R"({"stop": null, "temperature": null, "top_k": -1, "logit_bias": null,
                          "seed": null, "suffix": null, "n": null, "user": null})"));
  EXPECT_EQ(call.requests.at(0).sampling.top_k, 0);
  EXPECT_EQ(call.requests.at(0).sampling.temperature, 1.0f);
}

TEST(OpenAiRequest, MakesNChoicesForEveryPrompt) {
  const CompletionCall call = must_read(
      Endpoint::kCompletions, completion_with(R"({"prompt": ["a", "b"], "n": 2, "seed": 5})"));
  std::vector<std::pair<std::string, std::uint64_t>> choices;
  for (const auto& request : call.requests) choices.emplace_back(*request.prompt, *request.seed);
  EXPECT_THAT(choices, ElementsAre(Pair("a", 5), Pair("a", 6), Pair("b", 5), Pair("b", 6)));
  EXPECT_EQ(call.format.num_choices, 4u);
}

TEST(OpenAiRequest, ReadsPromptsOfTokenIds) {
  const CompletionCall one =
      must_read(Endpoint::kCompletions, completion_with(R"({"prompt": [1, 2]})"));
  ASSERT_THAT(one.requests, SizeIs(1));
  EXPECT_THAT(*one.requests[0].prompt_token_ids, ElementsAre(1, 2));
  EXPECT_FALSE(one.requests[0].prompt.has_value());
  const CompletionCall two =
      must_read(Endpoint::kCompletions, completion_with(R"({"prompt": [[1], [2, 3]]})"));
  ASSERT_THAT(two.requests, SizeIs(2));
  EXPECT_THAT(*two.requests[1].prompt_token_ids, ElementsAre(2, 3));
}

TEST(OpenAiRequest, EchoesThePromptOfEachChoice) {
  const CompletionCall call =
      must_read(Endpoint::kCompletions, completion_with(R"({"prompt": ["a", "b"], "echo": true})"));
  EXPECT_THAT(call.format.echo, ElementsAre("a", "b"));
}

json messages_of(const std::string& members) {
  return json::parse(*must_read(Endpoint::kChat, chat_with(members)).requests.at(0).messages);
}

TEST(OpenAiRequest, PassesMessagesOn) {
  EXPECT_EQ(messages_of(R"({"messages": [
      {"role": "system", "content": "Be brief."},
      {"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "two"}],
       "name": "Ann"},
      {"role": "assistant", "content": null, "refusal": null, "audio": null, "annotations": [],
       "tool_calls": [{"id": "c1", "type": "function",
                       "function": {"name": "add", "arguments": "{\"a\": 1}"}}]},
      {"role": "tool", "tool_call_id": "c1", "content": "2"}]})"),
            json::parse(R"([
      {"role": "system", "content": "Be brief."},
      {"role": "user", "content": "One\ntwo", "name": "Ann"},
      {"role": "assistant", "content": "",
       "tool_calls": [{"id": "c1", "type": "function",
                       "function": {"name": "add", "arguments": {"a": 1}}}]},
      {"role": "tool", "tool_call_id": "c1", "content": "2"}])"));
}

// Models were trained on tools in the order in which clients write them.
TEST(OpenAiRequest, KeepsTheOrderOfMembers) {
  const std::string tool = R"({"type":"function","function":{"name":"f","description":"d",)"
                           R"("parameters":{"type":"object","properties":{"z":{},"a":{}}}}})";
  const CompletionCall call =
      must_read(Endpoint::kChat,
                R"({"model":"tiny","tools":[)" + tool +
                    R"(],"messages":[{"content":"Hi","role":"user"},{"role":"assistant",)"
                    R"("tool_calls":[{"function":{"arguments":"{\"z\":1,\"a\":2}","name":"f"},)"
                    R"("id":"c"}]}],"chat_template_kwargs":{"z":1,"a":2}})");
  EXPECT_EQ(call.requests.at(0).template_args, R"({"z":1,"a":2,"tools":[)" + tool + "]}");
  EXPECT_EQ(
      call.requests[0].messages,
      R"([{"role":"user","content":"Hi"},{"role":"assistant","content":"","tool_calls":)"
      R"([{"id":"c","type":"function","function":{"name":"f","arguments":{"z":1,"a":2}}}]}])");
}

TEST(OpenAiRequest, TakesEmptyArgumentsOfAToolCallForNone) {
  const json messages = messages_of(R"({"messages": [{"role": "assistant", "tool_calls": [
      {"id": "c1", "type": "function", "function": {"name": "now", "arguments": ""}}]}]})");
  EXPECT_EQ(messages.at(0)["tool_calls"][0]["function"]["arguments"], json::object());
}

TEST(OpenAiRequest, PassesToolsAndTemplateVariablesOn) {
  const CompletionCall call = must_read(Endpoint::kChat, chat_with(R"({
      "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
      "tool_choice": "auto", "chat_template_kwargs": {"enable_thinking": false},
      "add_generation_prompt": false})"));
  EXPECT_EQ(json::parse(*call.requests.at(0).template_args), json::parse(R"({
      "enable_thinking": false,
      "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]})"));
  EXPECT_FALSE(call.requests[0].add_generation_prompt);
}

TEST(OpenAiRequest, ReadsChatLogprobsAndBothNamesOfMaxTokens) {
  const auto sampling = [](const char* members) {
    return must_read(Endpoint::kChat, chat_with(members)).requests.at(0).sampling.logprobs;
  };
  EXPECT_EQ(sampling(R"({"logprobs": true})"), 0);
  EXPECT_EQ(sampling(R"({"logprobs": true, "top_logprobs": 3})"), 3);
  EXPECT_EQ(sampling(R"({"logprobs": false})"), -1);
  for (const char* name : {"max_tokens", "max_completion_tokens"}) {
    const json members = {{name, 9}};
    EXPECT_EQ(must_read(Endpoint::kChat, chat_with(members.dump())).requests.at(0).max_tokens, 9);
  }
}

}  // namespace
}  // namespace lockstep::gateway
