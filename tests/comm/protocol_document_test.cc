#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "comm/client_codec.h"
#include "tests/comm/codec_bytes.h"

namespace lockstep::comm {
namespace {

using nlohmann::json;

std::string document() {
  std::ifstream file("docs/protocol.md");
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// The part of the document that is about `heading`, e.g. "### `delta`".
std::string section(const std::string& heading) {
  const std::string text = document();
  const std::size_t begin = text.find(heading);
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find("\n##", begin) - begin);
}

void expect_documented(const json& message, const std::string& text) {
  for (const auto& [key, value] : message.items()) {
    EXPECT_TRUE(key == "type" || text.find("`" + key + "`") != std::string::npos) << key;
    if (value.is_object()) expect_documented(value, text);
    if (value.is_array() && !value.empty() && value[0].is_object()) {
      expect_documented(value[0], text);
    }
  }
}

// A request in which no field has its default, but for logit_bias, whose integer keys JSON lacks.
GenerateRequest full_request() {
  GenerateRequest request;
  request.id = "x";
  request.prompt = "p";
  request.prompt_token_ids = {1};
  request.messages = "[]";
  request.template_args = "{}";
  request.add_generation_prompt = request.add_special_tokens = false;
  request.max_tokens = 9;
  request.stop = {"s"};
  request.include_stop_str_in_output = request.ignore_eos = true;
  request.skip_special_tokens = false;
  request.seed = 1;
  request.sampling = {0.5f, 0.5f, 5, 0.5f, 1.5f, 0.5f, 0.5f, 0, 5, 5, {1}, {}};
  return request;
}

TEST(ProtocolDocument, HasEveryFieldThatIsWrittenInItsMessagesSection) {
  const auto check = [](const std::string& bytes, const std::string& heading) {
    SCOPED_TRACE(heading);
    expect_documented(json_of(bytes), section(heading));
  };
  check(encode(ClientMessage(full_request())), "### `generate`");
  check(encode(ClientMessage(CancelRequest{"x"})), "### `cancel`");
  check(encode(ClientMessage(StatusRequest{"x", true})), "### `status`: how are you?");
  check(encode(ServerMessage(Accepted{"x", {1}, 1})), "### `accepted`");
  const TokenDetail detail{1, "t", -1};
  check(encode(ServerMessage(Delta{"x", "t", {1}, {{detail, {detail}}}})), "### `delta`");
  check(encode(ServerMessage(Done{"x", "stop", "s", {}, {}, "f"})), "### `done`");
  check(encode(ServerMessage(ErrorReply{"x", {"c", "m", "p"}})), "### `error`");
  StatusReply status;
  status.metrics = "m";
  check(encode(ServerMessage(status)), "### `status`\n");
}

TEST(ProtocolDocument, StatesTheLargestMessage) {
  const std::string mebibytes = std::to_string(kMaxClientMessageBytes >> 20) + " MiB";
  EXPECT_NE(section("## Transport").find("| " + mebibytes), std::string::npos);
}

}  // namespace
}  // namespace lockstep::comm
