// The interpreter against Python's jinja2: every case of jinja_cases.py.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "model/chat_template.h"

namespace lockstep::model {
namespace {

using Json = nlohmann::ordered_json;

std::string python() {
  const char* configured = std::getenv("LOCKSTEP_PYTHON");
  return configured ? configured : ".venv/bin/python";
}

// Standard output of a command, nullopt when it fails.
std::optional<std::string> run(const std::string& command) {
  FILE* pipe = popen(command.c_str(), "r");
  if (!pipe) return std::nullopt;
  std::string output;
  std::vector<char> buffer(1 << 16);
  while (const std::size_t bytes = fread(buffer.data(), 1, buffer.size(), pipe)) {
    output.append(buffer.data(), bytes);
  }
  return pclose(pipe) == 0 ? std::optional(output) : std::nullopt;
}

bool has_jinja2() { return run("'" + python() + "' -c 'import jinja2' 2>/dev/null").has_value(); }

// What ours makes of a case; nullopt for an error of any kind, with its message in `why`.
std::optional<std::string> render(const Json& test, std::string& why) {
  Json extra = test["variables"];
  Json messages = Json::array();
  bool add_generation_prompt = false;
  if (extra.contains("messages")) messages = extra["messages"];
  if (extra.contains("add_generation_prompt"))
    add_generation_prompt = extra["add_generation_prompt"];
  extra.erase("messages");
  extra.erase("add_generation_prompt");
  try {
    const ChatTemplate chat(test["template"], "<s>", "</s>");
    const auto result = chat.render(messages, add_generation_prompt, extra);
    if (result) return *result;
    why = result.fault().message;
  } catch (const Error& error) {
    why = error.what();
  }
  return std::nullopt;
}

TEST(Jinja, RendersEveryCaseOfTheTableAsPythonDoes) {
  if (!has_jinja2()) GTEST_SKIP() << "no jinja2 in " << python() << " (set LOCKSTEP_PYTHON)";
  const auto lines = run("'" + python() + "' tests/model/jinja_oracle.py");
  ASSERT_TRUE(lines) << "the oracle failed";
  std::istringstream stream(*lines);
  int cases = 0;
  for (std::string line; std::getline(stream, line); ++cases) {
    const Json test = Json::parse(line);
    SCOPED_TRACE(test["name"].get<std::string>());
    std::string why;
    const std::optional<std::string> ours = render(test, why);
    if (test["expected"].is_null()) {
      EXPECT_FALSE(ours) << "jinja2 has an error here, ours wrote: " << *ours;
    } else {
      EXPECT_TRUE(ours) << "ours failed: " << why << "\njinja2 wrote: " << test["expected"];
      EXPECT_EQ(ours.value_or(""), test["expected"].get<std::string>());
    }
  }
  EXPECT_GE(cases, 300);
}

}  // namespace
}  // namespace lockstep::model
