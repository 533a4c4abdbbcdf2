#include "comm/json_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep::comm {
namespace {

using ::testing::HasSubstr;

std::string text_of(const Result<Json>& json) { return json ? json->dump() : json.fault().message; }

TEST(JsonReader, KeepsTheOrderOfMembers) {
  const std::string text = R"({"z":[{"b":1,"a":{"y":null,"x":2.5}}],"a":"z","m":true})";
  EXPECT_EQ(text_of(parse_json(text)), text);
}

TEST(JsonReader, NamesTheFieldThatTheTextIs) {
  const Result<Json> twice = parse_json(R"([{"a": 1}, {"b": {"a": 1, "a": 2}}])", "messages");
  ASSERT_FALSE(twice);
  EXPECT_EQ(twice.fault().param, "messages[1].b.a");
  EXPECT_EQ(twice.fault().message, "'messages[1].b.a' occurs twice");
  EXPECT_EQ(parse_json("[", "messages").fault().message,
            "'messages' is not valid JSON: error at byte 2");
  EXPECT_EQ(parse_json("[").fault().message, "the body is not valid JSON: error at byte 2");
}

TEST(JsonReader, TakesTheSameNameInObjectsOfTheirOwn) {
  const std::string text = R"({"a":{"a":{"a":1},"b":2},"b":[{"a":3},{"a":4}]})";
  EXPECT_EQ(text_of(parse_json(text)), text);
}

// By a search among all members before each, this many took a quarter of an hour.
TEST(JsonReader, ReadsHundredsOfThousandsOfMembers) {
  std::string text = "{";
  for (int i = 0; i < 400'000; ++i) text += '"' + std::to_string(i) + "\":0,";
  text += R"("0": 1})";
  EXPECT_THAT(text_of(parse_json(text)), HasSubstr("'0' occurs twice"));
  text.replace(text.rfind("\"0\""), 3, "\"x\"");
  EXPECT_EQ(parse_json(text)->size(), 400'001u);
}

TEST(JsonReader, ShortensNamesBetweenCharacters) {
  EXPECT_EQ(shortened(std::string(64, 'a')), std::string(64, 'a'));
  EXPECT_EQ(shortened(std::string(65, 'a')), std::string(61, 'a') + "...");
  std::string euros;
  for (int i = 0; i < 30; ++i) euros += "\u20ac";
  EXPECT_EQ(shortened(euros), euros.substr(0, 60) + "...");
}

TEST(JsonReader, ShortensWhatIsNotUtf8) {
  EXPECT_EQ(shortened(std::string(100, '\x80')), "...");
  EXPECT_EQ(shortened(std::string(100, '\xff')), std::string(61, '\xff') + "...");
}

}  // namespace
}  // namespace lockstep::comm
