#include "coordinator/admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "model/utf8.h"
#include "tests/coordinator/fake_tokenizer.h"
#include "tests/coordinator/gated_tokenizer.h"

namespace lockstep::coordinator {
namespace {

using ::testing::ElementsAre;
using testing::FakeTokenizer;
using ::testing::HasSubstr;

// Token 256 is <|start|> and the beginning-of-sequence token, 257 is <|end|>.
class AdmissionTest : public ::testing::Test {
 protected:
  Result<AdmittedRequest> admit(const comm::GenerateRequest& request) const {
    return Admission(options, tokenizer, chat_template, {257}, /*seed=*/5).admit(request, 1);
  }
  static comm::GenerateRequest prompt(std::int32_t num_tokens,
                                      std::optional<std::int32_t> max_tokens) {
    comm::GenerateRequest request;
    request.prompt_token_ids = std::vector<std::int32_t>(num_tokens, 3);
    request.max_tokens = max_tokens;
    return request;
  }

  FakeTokenizer tokenizer = testing::letters();
  const model::ChatTemplate* chat_template = nullptr;
  SchedulerOptions options{.max_model_len = 8192, .block_size = 16, .num_blocks = 1024};
};

TEST_F(AdmissionTest, EncodesAPromptWithItsControlTokens) {
  comm::GenerateRequest request;
  request.prompt = "ab<|end|>";
  EXPECT_THAT(admit(request)->request.prompt_token_ids, ElementsAre(256, 0, 1, 257));
  request.add_special_tokens = false;
  EXPECT_THAT(admit(request)->request.prompt_token_ids, ElementsAre(0, 1, 257));
}

TEST_F(AdmissionTest, EncodesATextOnceForNeighboursThatHaveItInCommon) {
  const testing::GatedTokenizer counting;
  Admission admission(options, counting, nullptr, {}, /*seed=*/5);
  comm::GenerateRequest request;
  request.prompt = "abc";
  for (std::uint64_t id = 1; id <= 16; ++id) {
    EXPECT_THAT(admission.admit(request, id)->request.prompt_token_ids, ElementsAre(256, 0, 1, 2));
  }
  EXPECT_EQ(counting.num_encoded, 1);
  request.add_special_tokens = false;
  EXPECT_THAT(admission.admit(request, 17)->request.prompt_token_ids, ElementsAre(0, 1, 2));
  request.prompt = "abd";
  EXPECT_THAT(admission.admit(request, 18)->request.prompt_token_ids, ElementsAre(0, 1, 3));
  EXPECT_EQ(counting.num_encoded, 3);
}

TEST_F(AdmissionTest, RefusesWhatExceedsTheContextWithAllNumbers) {
  const auto refused = admit(prompt(9001, 100));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.fault().code, "context_length_exceeded");
  EXPECT_EQ(refused.fault().message,
            "prompt of 9,001 tokens leaves no room for an answer in max_model_len 8,192");
  EXPECT_EQ(admit(prompt(8100, 93)).fault().message,
            "prompt of 8,100 tokens + max_tokens 93 exceeds max_model_len 8,192");
  EXPECT_EQ(admit(prompt(8100, 92))->request.stop.max_tokens, 92);
}

TEST_F(AdmissionTest, RefusesWhatTheWholeCacheCannotHold) {
  options.num_blocks = 4;
  const auto refused = admit(prompt(60, 6));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.fault().code, "context_length_exceeded");
  EXPECT_EQ(refused.fault().message,
            "prompt of 60 tokens + max_tokens 6 exceeds the whole KV cache of 64 tokens (4 blocks "
            "of 16)");
  EXPECT_TRUE(admit(prompt(60, 5)));  // the last token needs no place
}

TEST_F(AdmissionTest, GivesAnAnswerTheRestOfTheContextByDefault) {
  EXPECT_EQ(admit(prompt(8000, std::nullopt))->request.stop.max_tokens, 192);
  options.num_blocks = 4;
  EXPECT_EQ(admit(prompt(60, std::nullopt))->request.stop.max_tokens, 5);
}

TEST_F(AdmissionTest, RefusesATextThatCannotFitWithoutEncodingIt) {
  options.max_model_len = 100;
  comm::GenerateRequest request;
  request.prompt = std::string(901, 'a');  // the longest token, <|start|>, has 9 bytes
  EXPECT_EQ(admit(request).fault().message,
            "prompt has 901 bytes, more than max_model_len 100 tokens can hold");
}

TEST_F(AdmissionTest, RefusesAnEmptyPrompt) {
  comm::GenerateRequest request;
  request.prompt = "";
  request.add_special_tokens = false;
  EXPECT_EQ(admit(request).fault().code, "invalid_request_error");
  EXPECT_EQ(admit(prompt(0, 1)).fault().param, "prompt");
}

TEST_F(AdmissionTest, RefusesTokensOutsideTheVocabulary) {
  comm::GenerateRequest request = prompt(3, 1);
  request.prompt_token_ids->push_back(50000);
  EXPECT_EQ(admit(request).fault().message,
            "prompt_token_ids has token 50,000, the vocabulary has tokens 0 to 257");
  request = prompt(3, 1);
  request.sampling.stop_token_ids = {258};
  EXPECT_EQ(admit(request).fault().param, "stop_token_ids");
  request = prompt(3, 1);
  request.sampling.logit_bias = {{-1, 0.5f}};
  EXPECT_EQ(admit(request).fault().param, "logit_bias");
}

TEST_F(AdmissionTest, RefusesMoreMinTokensThanMaxTokens) {
  comm::GenerateRequest request = prompt(3, 4);
  request.sampling.min_tokens = 5;
  EXPECT_EQ(admit(request).fault().message, "min_tokens 5 exceeds max_tokens 4");
}

TEST_F(AdmissionTest, TellsTheShardsOfAllStopTokensUnlessEosIsIgnored) {
  comm::GenerateRequest request = prompt(3, 4);
  request.sampling.stop_token_ids = {9};
  EXPECT_THAT(admit(request)->request.sampling.stop_token_ids, ElementsAre(9, 257));
  EXPECT_THAT(admit(request)->request.stop.eos_token_ids, ElementsAre(257));
  EXPECT_THAT(admit(request)->request.stop.stop_token_ids, ElementsAre(9));
  request.ignore_eos = true;
  EXPECT_THAT(admit(request)->request.sampling.stop_token_ids, ElementsAre(9));
  EXPECT_TRUE(admit(request)->request.stop.eos_token_ids.empty());
}

TEST_F(AdmissionTest, KeepsTheClientsSeedAndDrawsDistinctOnesElse) {
  comm::GenerateRequest request = prompt(3, 4);
  request.seed = 77;
  request.sampling.seed = 5;
  EXPECT_EQ(admit(request)->request.sampling.seed, 77u);
  request.seed.reset();
  std::set<std::uint64_t> seeds;
  for (const std::uint64_t seed : {1u, 2u}) {
    Admission admission(options, tokenizer, nullptr, {}, seed);
    for (std::uint64_t id = 1; id <= 100; ++id) {
      seeds.insert(admission.admit(request, id)->request.sampling.seed);
    }
    EXPECT_EQ(
        admission.admit(request, 3)->request.sampling.seed,
        Admission(options, tokenizer, nullptr, {}, seed).admit(request, 3)->request.sampling.seed);
  }
  EXPECT_EQ(seeds.size(), 200u);
}

TEST_F(AdmissionTest, RefusesMessagesWhenTheModelHasNoTemplate) {
  comm::GenerateRequest request;
  request.messages = R"([{"role": "user", "content": "hi"}])";
  EXPECT_THAT(admit(request).fault().message, HasSubstr("no chat template"));
}

class AdmissionOfMessages : public AdmissionTest {
 protected:
  AdmissionOfMessages() { chat_template = &chat; }
  model::ChatTemplate chat{
      "{% for m in messages %}<|start|>{{ m.content }}<|end|>{% endfor %}"
      "{% if add_generation_prompt %}<|start|>{% endif %}{{ suffix }}",
      "", ""};
};

TEST_F(AdmissionOfMessages, RendersTheTemplateAndAddsNoFurtherSpecialTokens) {
  comm::GenerateRequest request;
  request.messages = R"([{"role": "user", "content": "ab"}])";
  EXPECT_THAT(admit(request)->request.prompt_token_ids, ElementsAre(256, 0, 1, 257, 256));
  request.add_generation_prompt = false;
  EXPECT_THAT(admit(request)->request.prompt_token_ids, ElementsAre(256, 0, 1, 257));
}

TEST_F(AdmissionOfMessages, TellsAnswersThatAreMessagesFromTextThatGoesOn) {
  comm::GenerateRequest request;
  request.messages = R"([{"role": "user", "content": "ab"}])";
  EXPECT_TRUE(admit(request)->answer.begins_text);
  request.add_generation_prompt = false;
  EXPECT_FALSE(admit(request)->answer.begins_text);
  EXPECT_FALSE(admit(prompt(1, 1))->answer.begins_text);
}

TEST_F(AdmissionOfMessages, PassesTemplateArguments) {
  comm::GenerateRequest request;
  request.messages = R"([{"role": "user", "content": "ab"}])";
  request.template_args = R"({"suffix": "c"})";
  EXPECT_THAT(admit(request)->request.prompt_token_ids, ElementsAre(256, 0, 1, 257, 256, 2));
}

TEST_F(AdmissionOfMessages, RefusesToolsThatTheTemplateWouldLeaveOut) {
  comm::GenerateRequest request;
  request.messages = R"([{"role": "user", "content": "ab"}])";
  for (const char* none : {R"({"tools": null})", R"({"tools": []})"}) {
    request.template_args = none;
    EXPECT_TRUE(admit(request)) << none;
  }
  request.template_args = R"({"tools": [{"type": "function", "function": {"name": "f"}}]})";
  EXPECT_EQ(admit(request).fault().param, "tools");
  EXPECT_THAT(admit(request).fault().message, HasSubstr("chat template has no place for them"));
  const model::ChatTemplate with_tools(
      "{% if tools %}<|start|>{% endif %}{{ messages[0].content }}", "", "");
  chat_template = &with_tools;
  EXPECT_THAT(admit(request)->request.prompt_token_ids, ElementsAre(256, 0, 1));
}

TEST_F(AdmissionOfMessages, RefusesWhatIsNotAnArrayOfMessages) {
  comm::GenerateRequest request;
  request.messages = "[{";
  EXPECT_THAT(admit(request).fault().message, HasSubstr("'messages' is not valid JSON"));
  for (const char* cut : {"\xc3\xa9", "[\"\xc3", "[{\"\xe2\x82"}) {
    request.messages = cut;
    const std::string message = admit(request).fault().message;
    EXPECT_TRUE(model::is_valid_utf8(message)) << message;
    EXPECT_THAT(message, HasSubstr("'messages' is not valid JSON"));
  }
  request.messages = "{}";
  EXPECT_EQ(admit(request).fault().param, "messages");
  request.messages = "[]";
  EXPECT_EQ(admit(request).fault().param, "messages");
  request.messages = R"([{"role": "user", "content": "ab"}])";
  request.template_args = "[]";
  EXPECT_EQ(admit(request).fault().param, "template_args");
}

TEST_F(AdmissionOfMessages, RefusesDeepNesting) {
  comm::GenerateRequest request;
  request.messages = std::string(100000, '[') + std::string(100000, ']');
  EXPECT_EQ(admit(request).fault().param, "messages[0][0][0][0][0][0][0][0]");
  EXPECT_THAT(admit(request).fault().message, HasSubstr("nested deeper than 64"));
}

}  // namespace
}  // namespace lockstep::coordinator
