#include "comm/client_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <random>

#include "tests/comm/codec_bytes.h"

namespace lockstep::comm {
namespace {

using nlohmann::json;
using testing::HasSubstr;

// ---- What each message must look like on the wire, written out independently of the codec ----

void put_unless(json& map, const char* key, const json& value, const json& default_value) {
  if (value != default_value) map[key] = value;
}

json to_json(const GenerateRequest& g) {
  json map{{"type", "generate"}, {"id", g.id}};
  if (g.prompt) map["prompt"] = *g.prompt;
  if (g.prompt_token_ids) map["prompt_token_ids"] = *g.prompt_token_ids;
  if (g.messages) map["messages"] = *g.messages;
  if (g.template_args) map["template_args"] = *g.template_args;
  put_unless(map, "add_generation_prompt", g.add_generation_prompt, true);
  put_unless(map, "add_special_tokens", g.add_special_tokens, true);
  if (g.max_tokens) map["max_tokens"] = *g.max_tokens;
  put_unless(map, "stop", g.stop, json::array());
  put_unless(map, "include_stop_str_in_output", g.include_stop_str_in_output, false);
  put_unless(map, "ignore_eos", g.ignore_eos, false);
  put_unless(map, "skip_special_tokens", g.skip_special_tokens, true);
  if (g.seed) map["seed"] = *g.seed;
  const SamplingParams& p = g.sampling;
  put_unless(map, "temperature", p.temperature, 0.0);
  put_unless(map, "top_p", p.top_p, 1.0);
  put_unless(map, "top_k", p.top_k, 0);
  put_unless(map, "min_p", p.min_p, 0.0);
  put_unless(map, "repetition_penalty", p.repetition_penalty, 1.0);
  put_unless(map, "presence_penalty", p.presence_penalty, 0.0);
  put_unless(map, "frequency_penalty", p.frequency_penalty, 0.0);
  put_unless(map, "logprobs", p.logprobs, -1);
  put_unless(map, "min_tokens", p.min_tokens, 0);
  put_unless(map, "stop_token_ids", p.stop_token_ids, json::array());
  return map;
}

json to_json(const TokenDetail& d) {
  const std::vector<std::uint8_t> token(d.token.begin(), d.token.end());
  return {{"token_id", d.token_id}, {"token", json::binary(token)}, {"logprob", d.logprob}};
}

json to_json(const Delta& d) {
  json map{{"type", "delta"}, {"id", d.id}, {"text", d.text}, {"token_ids", d.token_ids}};
  for (const DeltaToken& token : d.logprobs) {
    json item{{"chosen", to_json(token.chosen)}};
    for (const TokenDetail& top : token.top) item["top"].push_back(to_json(top));
    map["logprobs"].push_back(item);
  }
  return map;
}

json to_json(const Done& d) {
  json map{{"type", "done"},
           {"id", d.id},
           {"finish_reason", d.finish_reason},
           {"usage",
            {{"prompt_tokens", d.usage.prompt_tokens},
             {"completion_tokens", d.usage.completion_tokens},
             {"cached_tokens", d.usage.cached_tokens}}},
           {"timings",
            {{"queue_ms", d.timings.queue_ms},
             {"prefill_ms", d.timings.prefill_ms},
             {"decode_ms", d.timings.decode_ms}}},
           {"system_fingerprint", d.system_fingerprint}};
  put_unless(map, "stop_reason", d.stop_reason, "");
  return map;
}

// ---- Random messages ----

class Dice {
 public:
  explicit Dice(std::uint32_t seed) : engine_(seed) {}
  bool coin() { return number(0, 1) == 1; }
  std::int64_t number(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(engine_);
  }
  float real(float low, float high) {
    return std::uniform_real_distribution<float>(low, high)(engine_);
  }
  std::uint64_t word() { return std::uniform_int_distribution<std::uint64_t>()(engine_); }
  std::string text(std::size_t most) {
    static const std::vector<std::string> kLetters{"a", " ", "\n", "\"", "ß", "€", "🙂", "\0"};
    std::string text;
    while (text.size() + 4 <= most && number(0, 20) > 0) text += kLetters[number(0, 7)];
    return text;
  }
  std::vector<std::int32_t> ids(std::size_t most) {
    std::vector<std::int32_t> ids(number(0, most));
    for (auto& id : ids)
      id = static_cast<std::int32_t>(number(0, 1) ? number(0, 200) : number(0, INT32_MAX));
    return ids;
  }

 private:
  std::mt19937 engine_;
};

GenerateRequest random_generate(Dice& dice) {
  GenerateRequest g;
  g.id = dice.text(100);
  g.id += "r";
  const auto input = dice.number(0, 2);
  if (input == 0) g.prompt = dice.text(500);
  if (input == 1) g.prompt_token_ids = dice.ids(70000 / (1 + dice.number(0, 999)));
  if (input == 2) g.messages = dice.text(100);
  if (input == 2 && dice.coin()) g.template_args = dice.text(100);
  g.add_generation_prompt = dice.coin();
  g.add_special_tokens = dice.coin();
  if (dice.coin()) g.max_tokens = static_cast<std::int32_t>(dice.number(1000, INT32_MAX));
  for (auto n = dice.number(0, 16); n > 0; --n) g.stop.push_back(dice.text(1000).append("s"));
  g.include_stop_str_in_output = dice.coin();
  g.ignore_eos = dice.coin();
  g.skip_special_tokens = dice.coin();
  if (dice.coin()) g.seed = dice.word();
  g.sampling.temperature = dice.coin() ? 0.0f : dice.real(0, 100);
  g.sampling.top_p = dice.real(0.01f, 1);
  g.sampling.top_k = static_cast<std::int32_t>(dice.number(0, 100));
  g.sampling.min_p = dice.real(0, 1);
  g.sampling.repetition_penalty = dice.real(0.5f, 100);
  g.sampling.presence_penalty = dice.real(-2, 2);
  g.sampling.frequency_penalty = dice.real(-2, 2);
  g.sampling.logprobs = static_cast<std::int32_t>(dice.number(-1, 20));
  g.sampling.min_tokens = static_cast<std::int32_t>(dice.number(0, 1000));
  g.sampling.stop_token_ids = dice.ids(128);
  return g;
}

TokenDetail random_detail(Dice& dice) {
  TokenDetail detail{static_cast<std::int32_t>(dice.number(0, 300000)), dice.text(20),
                     dice.real(-50, 0)};
  if (dice.coin()) detail.token += "\xE2\x82";  // half a character
  return detail;
}

Delta random_delta(Dice& dice) {
  Delta delta{dice.text(100), dice.text(300), dice.ids(20), {}};
  if (dice.coin()) return delta;
  for (std::size_t i = 0; i < delta.token_ids.size(); ++i) {
    DeltaToken& token = delta.logprobs.emplace_back();
    token.chosen = random_detail(dice);
    for (auto n = dice.number(0, 20); n > 0; --n) token.top.push_back(random_detail(dice));
  }
  return delta;
}

Done random_done(Dice& dice) {
  return {"i",
          dice.coin() ? "stop" : "length",
          dice.text(20),
          {static_cast<std::int32_t>(dice.number(0, 100000)), 7, 3},
          {dice.real(0, 1e6f), 1.0 / 3, 1e-9},
          dice.text(50)};
}

TEST(ClientCodec, GivesTheDocumentedMapAndReadsItBackForRandomMessages) {
  Dice dice(20240607);
  for (int i = 0; i < 300; ++i) {
    const GenerateRequest generate = random_generate(dice);
    const std::string bytes = encode(ClientMessage(generate));
    ASSERT_EQ(json_of(bytes), to_json(generate)) << i;
    const auto decoded = decode_client_message(bytes_of(msgpack_of(to_json(generate))));
    ASSERT_TRUE(decoded.ok()) << i << ": " << decoded.fault().message;
    ASSERT_EQ(to_json(std::get<GenerateRequest>(*decoded)), to_json(generate)) << i;

    const Delta delta = random_delta(dice);
    ASSERT_EQ(json_of(encode(ServerMessage(delta))), to_json(delta)) << i;
    const auto decoded_delta = decode_server_message(bytes_of(encode(ServerMessage(delta))));
    ASSERT_EQ(to_json(std::get<Delta>(*decoded_delta)), to_json(delta)) << i;

    const Done done = random_done(dice);
    ASSERT_EQ(json_of(encode(ServerMessage(done))), to_json(done)) << i;
    const auto decoded_done = decode_server_message(bytes_of(encode(ServerMessage(done))));
    ASSERT_EQ(to_json(std::get<Done>(*decoded_done)), to_json(done)) << i;
  }
}

TEST(ClientCodec, WritesTheTypeFirst) {
  // fixmap of 2, "type": "cancel", "id": "x"
  EXPECT_EQ(encode(ClientMessage(CancelRequest{"x"})),
            "\x82\xA4type\xA6"
            "cancel\xA2id\xA1x");
}

TEST(ClientCodec, LeavesDefaultsOut) {
  GenerateRequest generate;
  generate.id = "x";
  generate.prompt = "hello";
  const json expected{{"type", "generate"}, {"id", "x"}, {"prompt", "hello"}};
  EXPECT_EQ(json_of(encode(ClientMessage(generate))), expected);
}

TEST(ClientCodec, ReadsCancelAndStatus) {
  const auto cancel =
      decode_client_message(bytes_of(msgpack_of({{"id", "a"}, {"type", "cancel"}})));
  EXPECT_EQ(std::get<CancelRequest>(*cancel).id, "a");
  const auto status = decode_client_message(
      bytes_of(msgpack_of({{"type", "status"}, {"id", "b"}, {"metrics", true}})));
  EXPECT_EQ(std::get<StatusRequest>(*status).id, "b");
  EXPECT_TRUE(std::get<StatusRequest>(*status).metrics);
}

TEST(ClientCodec, RoundTripsTheSmallServerMessages) {
  const auto back = [](const ServerMessage& message) {
    return *decode_server_message(bytes_of(encode(message)));
  };
  const auto accepted = std::get<Accepted>(back(Accepted{"a", {1, 2, 300000}, ~0ull}));
  EXPECT_EQ(accepted.id, "a");
  EXPECT_EQ(accepted.prompt_token_ids, (std::vector<std::int32_t>{1, 2, 300000}));
  EXPECT_EQ(accepted.seed, ~0ull);
  const auto error = std::get<ErrorReply>(back(ErrorReply{"", {"code", "why", "stop"}}));
  EXPECT_EQ(error.fault.code + "/" + error.fault.message + "/" + error.fault.param,
            "code/why/stop");
  const StatusReply status{"s", true, true, "m", "1", "f", 8, 5, 6, 7, 9, 10, 11, 12, "text"};
  const json expected{{"type", "status"},
                      {"id", "s"},
                      {"healthy", true},
                      {"stopping", true},
                      {"model", "m"},
                      {"version", "1"},
                      {"system_fingerprint", "f"},
                      {"world_size", 8},
                      {"epoch", 5},
                      {"steps", 6},
                      {"running", 7},
                      {"waiting", 9},
                      {"blocks_total", 10},
                      {"blocks_used", 11},
                      {"max_model_len", 12},
                      {"metrics", "text"}};
  EXPECT_EQ(json_of(encode(ServerMessage(status))), expected);
  EXPECT_EQ(json_of(encode(back(status))), expected);
}

// nlohmann-json has no maps with integer keys, so these bytes are written by hand.
std::string generate_with(const std::string& entry) {
  return "\x84\xA4type\xA8generate\xA2id\xA1x\xA6prompt\xA1p" + entry;
}

TEST(ClientCodec, ReadsLogitBiasInAnyOrderAndKeepsItAscending) {
  using namespace std::string_literals;
  const std::string bytes = generate_with("\xAAlogit_bias\x82\x07\x02\x03\xCA\xBF\x00\x00\x00"s);
  const auto decoded = decode_client_message(bytes_of(bytes));
  ASSERT_TRUE(decoded.ok()) << decoded.fault().message;
  const auto& generate = std::get<GenerateRequest>(*decoded);
  const std::vector<std::pair<std::int32_t, float>> expected{{3, -0.5f}, {7, 2.0f}};
  EXPECT_EQ(generate.sampling.logit_bias, expected);
  const auto again = decode_client_message(bytes_of(encode(*decoded)));
  EXPECT_EQ(std::get<GenerateRequest>(*again).sampling.logit_bias, expected);
}

TEST(ClientCodec, TakesEveryLimitItself) {
  GenerateRequest g;
  g.id = std::string(128, 'i');
  g.prompt = std::string(std::size_t{4} << 20, 'p');
  g.stop.assign(16, std::string(1024, 's'));
  g.max_tokens = 1;
  g.sampling.temperature = 100;
  g.sampling.min_p = 1;
  g.sampling.repetition_penalty = 100;
  g.sampling.presence_penalty = -2;
  g.sampling.frequency_penalty = 2;
  g.sampling.logprobs = 20;
  g.sampling.stop_token_ids.assign(128, INT32_MAX);
  for (int i = 0; i < 1024; ++i) g.sampling.logit_bias.push_back({i, i % 2 ? 100.0f : -100.0f});
  const auto decoded = decode_client_message(bytes_of(encode(ClientMessage(g))));
  EXPECT_TRUE(decoded.ok()) << decoded.fault().message;
  g.sampling.repetition_penalty = 0.01f;  // a little less than 0.01
  const auto decoded_least = decode_client_message(bytes_of(encode(ClientMessage(g))));
  EXPECT_TRUE(decoded_least.ok()) << decoded_least.fault().message;
  GenerateRequest long_prompt;
  long_prompt.id = "x";
  long_prompt.prompt_token_ids.emplace(std::size_t{1} << 20, INT32_MAX);
  const auto decoded_ids = decode_client_message(bytes_of(encode(ClientMessage(long_prompt))));
  EXPECT_TRUE(decoded_ids.ok()) << decoded_ids.fault().message;
}

// ---- Malformed messages ----

struct Malformed {
  std::string name;
  std::string bytes;
  std::string param;    // exactly
  std::string message;  // a part of it
};

void PrintTo(const Malformed& malformed, std::ostream* out) { *out << malformed.name; }

// A good request with one field changed or added.
Malformed field(const std::string& name, const std::string& key, const json& value,
                const std::string& message, const std::string& param = "") {
  json map{{"type", "generate"}, {"id", "x"}, {"prompt", "p"}};
  map[key] = value;
  return {name, msgpack_of(map), param.empty() ? key : param, message};
}

json without(const std::string& key) {
  json map{{"type", "generate"}, {"id", "x"}, {"prompt", "p"}};
  map.erase(key);
  return map;
}

json with_two(const std::string& a, const json& x, const std::string& b, const json& y) {
  json map = without("nothing");
  map[a] = x;
  map[b] = y;
  return map;
}

std::vector<Malformed> malformed_messages() {
  using namespace std::string_literals;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double inf = std::numeric_limits<double>::infinity();
  const std::string good = msgpack_of(without("nothing"));
  return {
      // The message as a whole.
      {"empty", "", "", "not one whole msgpack value"},
      {"not_a_map", "\x93\x01\x02\x03", "", "must be a map"},
      {"number", "\x07", "", "must be a map"},
      {"nil", "\xC0", "", "must be a map"},
      {"reserved_byte", "\xC1", "", "not one whole msgpack value"},
      {"text", "GET / HTTP/1.1\r\n\r\n", "", "belong to nothing"},
      {"cut_short", good.substr(0, good.size() - 1), "", "not one whole msgpack value"},
      {"trailing_byte", good + "\xC0", "", "followed by 1 bytes"},
      {"two_messages", good + good, "", "belong to nothing"},
      {"integer_key", "\x81\x01\x02", "", "not a string but 1"},
      {"extension", generate_with("\xA4seed\xD4\x01\x02"), "", "extension type"},
      {"timestamp", generate_with("\xA4seed\xD6\xFF\x01\x02\x03\x04"), "", "extension type"},
      {"too_deep", generate_with("\xA4stop" + std::string(50, '\x91') + "\xC0"), "",
       "nested deeper than 8"},
      {"too_many_fields", "\xDE\x00\x41"s + std::string(65, '\xA0') + std::string(65, '\xA0'), "",
       "must have at most 64"},
      // type and unknown names.
      {"no_type", msgpack_of(without("type")), "type", "'type' is required"},
      field("unknown_type", "type", "generat", "'generat', which is no known message"),
      field("server_type", "type", "delta", "no known message"),
      field("type_number", "type", 1, "must be a string, not 1"),
      field("typo", "temprature", 1.0, "is not a field of this message"),
      field("empty_key", "", 1.0, "has no short name", " "),
      {"twice", generate_with("\xA2id\xA1y"), "id", "'id' occurs twice"},
      {"type_twice", generate_with("\xA4type\xA8generate"), "type", "'type' occurs twice"},
      {"cancel_with_prompt", msgpack_of({{"type", "cancel"}, {"id", "x"}, {"prompt", "p"}}),
       "prompt", "not a field"},
      // id.
      {"no_id", msgpack_of(without("id")), "id", "'id' is required"},
      field("empty_id", "id", "", "has 0 bytes, must have at least 1"),
      field("long_id", "id", std::string(129, 'x'), "has 129 bytes, must have at most 128"),
      field("id_number", "id", 7, "must be a string"),
      {"id_not_utf8",
       "\x82\xA4type\xA6"
       "cancel\xA2id\xA1\xFF",
       "id", "not valid UTF-8"},
      {"id_surrogate",
       "\x82\xA4type\xA6"
       "cancel\xA2id\xA3\xED\xA0\x80",
       "id", "not valid UTF-8"},
      {"id_overlong",
       "\x82\xA4type\xA6"
       "cancel\xA2id\xA2\xC0\x80",
       "id", "not valid UTF-8"},
      {"id_bin",
       "\x82\xA4type\xA6"
       "cancel\xA2id\xC4\x01x",
       "id", "not bytes"},
      // The prompt.
      {"no_prompt", msgpack_of(without("prompt")), "prompt", "exactly one of"},
      field("two_prompts", "messages", "[]", "exactly one of", "prompt"),
      field("prompt_nil", "prompt", nullptr, "must be a string, not nil"),
      field("prompt_too_long", "prompt", std::string((4 << 20) + 1, 'p'),
            "must have at most 4194304"),
      field("negative_token", "prompt_token_ids", {1, -1},
            "is -1, must be between 0 and 2147483647", "prompt_token_ids[1]"),
      field("large_token", "prompt_token_ids", {4294967296}, "must be between 0 and 2147483647",
            "prompt_token_ids[0]"),
      field("float_token", "prompt_token_ids", {1.5}, "must be an integer", "prompt_token_ids[0]"),
      field("template_args_alone", "template_args", "{}", "needs 'messages'"),
      // Sampling.
      field("temperature_negative", "temperature", -0.1, "must be between 0 and 100"),
      field("temperature_large", "temperature", 100.5, "is 100.5, must be between 0 and 100"),
      field("temperature_nan", "temperature", nan, "must be a finite number"),
      field("temperature_inf", "temperature", inf, "must be a finite number"),
      field("temperature_text", "temperature", "hot", "must be a number, not a string"),
      field("temperature_true", "temperature", true, "must be a number, not a boolean"),
      field("top_p_zero", "top_p", 0, "above 0 and at most 1"),
      field("top_p_rounds_to_zero", "top_p", 1e-60, "above 0 and at most 1"),
      field("top_p_large", "top_p", 1.01, "above 0 and at most 1"),
      field("top_k_negative", "top_k", -1, "must be between 0 and 2147483647"),
      field("top_k_float", "top_k", 5.0, "must be an integer, not 5"),
      field("top_k_huge", "top_k", 18446744073709551615ull, "must be between 0 and 2147483647"),
      field("min_p_negative", "min_p", -0.5, "must be between 0 and 1"),
      field("min_p_large", "min_p", 2, "must be between 0 and 1"),
      field("repetition_zero", "repetition_penalty", 0.0, "must be between 0.01 and 100"),
      field("repetition_tiny", "repetition_penalty", 1e-38, "must be between 0.01 and 100"),
      field("presence_large", "presence_penalty", 2.5, "must be between -2 and 2"),
      field("frequency_low", "frequency_penalty", -3, "must be between -2 and 2"),
      field("frequency_huge", "frequency_penalty", 1e300, "must be between -2 and 2"),
      field("logprobs_many", "logprobs", 21, "must be between -1 and 20"),
      field("min_tokens_negative", "min_tokens", -5, "must be between 0 and"),
      {"min_above_max", msgpack_of(with_two("min_tokens", 5, "max_tokens", 4)), "min_tokens",
       "is 5, must be at most max_tokens, which is 4"},
      field("max_tokens_zero", "max_tokens", 0, "must be between 1 and 2147483647"),
      field("max_tokens_negative", "max_tokens", -9223372036854775807LL - 1, "must be between 1"),
      field("seed_negative", "seed", -1, "must be between 0 and 2^64 - 1"),
      field("seed_float", "seed", 1e3, "must be an integer"),
      field("ignore_eos_number", "ignore_eos", 1, "must be a boolean, not 1"),
      field("stop_text", "stop", "end", "must be an array, not a string"),
      field("stop_many", "stop", std::vector<std::string>(17, "s"),
            "has 17 elements, must have at most 16"),
      field("stop_empty", "stop", {"a", ""}, "must have at least 1", "stop[1]"),
      field("stop_long", "stop", {std::string(1025, 's')}, "must have at most 1024", "stop[0]"),
      field("stop_ids_many", "stop_token_ids", std::vector<int>(129, 1), "must have at most 128"),
      field("bias_array", "logit_bias", json::array(), "must be a map, not an array"),
      field("bias_text_key", "logit_bias", {{"5", 1}}, "must be an integer, not a string"),
      {"bias_large", generate_with("\xAAlogit_bias\x81\x05\x65"), "logit_bias[5]",
       "is 101, must be between -100 and 100"},
      {"bias_twice", generate_with("\xAAlogit_bias\x82\x05\x01\x05\x02"), "logit_bias",
       "holds token 5 twice"},
      {"bias_negative_id", generate_with("\xAAlogit_bias\x81\xFF\x01"), "logit_bias",
       "must be between 0 and"},
      {"bias_nan", generate_with("\xAAlogit_bias\x81\x05\xCA\x7F\xC0\x00\x00"s), "logit_bias[5]",
       "finite"},
  };
}

class MalformedMessage : public testing::TestWithParam<Malformed> {};

TEST_P(MalformedMessage, IsRefusedWithTheFieldAndTheLimit) {
  const Malformed& malformed = GetParam();
  const auto decoded = decode_client_message(bytes_of(malformed.bytes));
  ASSERT_FALSE(decoded.ok());
  EXPECT_EQ(decoded.fault().code, "invalid_request_error");
  EXPECT_EQ(decoded.fault().param, malformed.param == " " ? "" : malformed.param);
  EXPECT_THAT(decoded.fault().message, HasSubstr(malformed.message));
}

INSTANTIATE_TEST_SUITE_P(ClientCodec, MalformedMessage, testing::ValuesIn(malformed_messages()),
                         [](const auto& info) { return info.param.name; });

TEST(ClientCodec, RefusesHeadersThatClaimMoreThanIsThere) {
  using namespace std::string_literals;
  const std::string claim = "\xFF\xFF\xFF\xFF";
  // Eight arrays, each of which claims four billion elements: 800 GB if anyone believed them.
  std::string nested;
  for (int i = 0; i < 8; ++i) nested += "\xDD" + claim;
  const std::vector<std::string> bombs{"\xDD" + claim,
                                       "\xDF" + claim,
                                       "\xDB" + claim,
                                       "\xC6" + claim,
                                       "\xC9" + claim + "\x01",
                                       nested,
                                       generate_with("\xA4stop\xDD" + claim),
                                       generate_with("\xAAlogit_bias\xDF" + claim),
                                       generate_with("\xA4stop\xDB" + claim)};
  const auto start = std::chrono::steady_clock::now();
  for (const std::string& bomb : bombs) {
    const auto decoded = decode_client_message(bytes_of(bomb));
    ASSERT_FALSE(decoded.ok());
    EXPECT_THAT(decoded.fault().message,
                testing::AnyOf(HasSubstr("claims more values"), HasSubstr("not one whole")));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
}

TEST(ClientCodec, BoundsTheValuesOfALongMessageByTheLimitsOfItsFields) {
  // 8 Mi one-byte elements would become 200 MB of objects.
  const std::string header = "\xA4stop\xDD" + std::string("\x00\x80\x00\x00", 4);
  const auto decoded =
      decode_client_message(bytes_of(generate_with(header + std::string(8 << 20, '\x01'))));
  ASSERT_FALSE(decoded.ok());
  EXPECT_THAT(decoded.fault().message, HasSubstr("claims more values"));
  const std::string too_long(kMaxClientMessageBytes + 1, '\x01');
  EXPECT_THAT(decode_client_message(bytes_of(too_long)).fault().message, HasSubstr("the limit is"));
}

TEST(ClientCodec, NeverThrowsWhateverByteIsChanged) {
  Dice dice(7);
  for (int i = 0; i < 20000; ++i) {
    std::string bytes = msgpack_of(with_two("stop", {"a", "b"}, "prompt_token_ids", {1, 2, 300}));
    for (auto n = dice.number(1, 4); n > 0; --n) {
      bytes[dice.number(0, bytes.size() - 1)] = static_cast<char>(dice.number(0, 255));
    }
    const auto decoded = decode_client_message(bytes_of(bytes));  // both inputs: never acceptable
    if (decoded.ok()) {
      EXPECT_FALSE(std::holds_alternative<GenerateRequest>(*decoded));
    } else {
      EXPECT_FALSE(decoded.fault().message.empty());
    }
  }
}

TEST(ClientCodec, TellsTheIdOfAMessageThatItRefuses) {
  EXPECT_EQ(readable_id(bytes_of(msgpack_of({{"id", "a"}, {"unknown", 1}}))), "a");
  EXPECT_EQ(readable_id(bytes_of(msgpack_of({{"id", 5}}))), "");
  EXPECT_EQ(readable_id(bytes_of(msgpack_of({{"id", std::string(129, 'x')}}))), "");
  EXPECT_EQ(readable_id(bytes_of("\xDD\xFF\xFF\xFF\xFF")), "");
  EXPECT_EQ(readable_id({}), "");
}

}  // namespace
}  // namespace lockstep::comm
