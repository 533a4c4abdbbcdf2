#include "model/model_identity.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace lockstep::model {
namespace {

namespace fs = std::filesystem;

class ModelIdentity : public testing::Test {
 protected:
  ModelIdentity() {
    std::string pattern = (fs::temp_directory_path() / "lockstep-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  ~ModelIdentity() override { fs::remove_all(folder_); }

  // Writes a file as of one and the same time.
  std::string write(const std::string& name, const std::string& text) {
    const fs::path path = folder_ / name;
    std::ofstream(path, std::ios::binary) << text;
    fs::last_write_time(path, time_);
    return path.string();
  }

  fs::path folder_;
  const fs::file_time_type time_ = fs::file_time_type::clock::now() - std::chrono::hours(1);
};

TEST_F(ModelIdentity, OfAFileIsOfItsNameSizeTimeAndContents) {
  const std::string text(10'000, 'a');
  const auto same = model_identity(write("m.gguf", text));
  EXPECT_EQ(model_identity(write("m.gguf", text)), same);
  EXPECT_NE(model_identity(write("n.gguf", text)), same);
  EXPECT_NE(model_identity(write("m.gguf", text + "a")), same);
  EXPECT_NE(model_identity(write("m.gguf", std::string(9'999, 'a') + "b")), same);
  const auto path = write("m.gguf", text);
  fs::last_write_time(path, time_ + std::chrono::nanoseconds(1000));
  EXPECT_NE(model_identity(path), same);
}

TEST_F(ModelIdentity, SeesTheHeadTheEndAndSamplesOfALongFile) {
  std::string text(24 << 20, 'a');
  const auto same = model_identity(write("m.gguf", text));
  EXPECT_EQ(model_identity(write("m.gguf", text)), same);
  // Not a promise for a single byte: another quantization changes all of them.
  for (const std::size_t at : {std::size_t{15} << 20, std::size_t{16} << 20, text.size() - 10}) {
    text[at] = 'b';
    EXPECT_NE(model_identity(write("m.gguf", text)), same) << at;
    text[at] = 'a';
  }
}

TEST_F(ModelIdentity, OfAFolderIsOfItsConfigurationAndWeights) {
  write("config.json", "{}");
  write("model-1.safetensors", "abc");
  const auto same = model_identity(folder_.string());
  write("tokenizer.json", "not of the weights");
  EXPECT_EQ(model_identity(folder_.string()), same);
  write("model-2.safetensors", "");
  EXPECT_NE(model_identity(folder_.string()), same);
  fs::remove(folder_ / "model-2.safetensors");
  write("config.json", "[]");
  EXPECT_NE(model_identity(folder_.string()), same);
}

TEST_F(ModelIdentity, NamesAFileThatIsNotThere) {
  try {
    model_identity((folder_ / "none.gguf").string());
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("none.gguf"), std::string::npos);
  }
}

}  // namespace
}  // namespace lockstep::model
