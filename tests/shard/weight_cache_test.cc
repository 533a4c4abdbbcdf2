// Files that are cut, damaged or of others must not become weights.
#include "shard/weight_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

namespace lockstep::shard {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::size_t kMiB = std::size_t{1} << 20;
constexpr std::uint64_t kDigest = 0x0123456789abcdef;

// An arena in which pieces of these sizes have been laid out.
kernels::Arena laid_out(const std::vector<std::size_t>& sizes) {
  kernels::Arena arena;
  for (const std::size_t size : sizes) arena.allocate(size);
  return arena;
}

void fill(kernels::Arena& arena, unsigned seed) {
  std::mt19937 random(seed);
  for (const auto run : arena.contents()) {
    for (std::size_t i = 0; i + 4 <= run.size(); i += 4) {
      const auto word = static_cast<std::uint32_t>(random());
      std::memcpy(run.data() + i, &word, sizeof word);
    }
  }
}

bool same_bytes(kernels::Arena& a, kernels::Arena& b) {
  const auto left = a.contents(), right = b.contents();
  if (left.size() != right.size()) return false;
  for (std::size_t i = 0; i < left.size(); ++i) {
    if (!std::ranges::equal(left[i], right[i])) return false;
  }
  return true;
}

class WeightCacheTest : public testing::Test {
 protected:
  WeightCacheTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "lockstep-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    spdlog::set_default_logger(std::make_shared<spdlog::logger>(
        "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log_)));
  }
  ~WeightCacheTest() override {
    spdlog::set_default_logger(logger_);
    std::filesystem::remove_all(folder_);
  }

  WeightCache cache(std::uint64_t digest = kDigest) { return {folder_.string(), digest, pool_}; }

  // Writes weights, lets `damage` loose on their file, and expects that they are refused with a
  // warning that names the file and says `why`, and that the file can be replaced.
  void expect_refused(const std::function<void(const std::string& path)>& damage,
                      const std::string& why) {
    auto written = laid_out(kSizes);
    fill(written, 1);
    cache().store(written);
    damage(cache().path());
    log_.str("");
    auto read = laid_out(kSizes);
    EXPECT_FALSE(cache().restore(read));
    EXPECT_THAT(log_.str(), AllOf(HasSubstr("[warning]"), HasSubstr(cache().path()), HasSubstr(why),
                                  HasSubstr("packed anew")));
    cache().store(written);
    auto again = laid_out(kSizes);
    EXPECT_TRUE(cache().restore(again));
    EXPECT_TRUE(same_bytes(written, again));
  }

  // Overwrites one byte.
  static void flip(const std::string& path, std::size_t offset) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(offset));
    const int byte = file.get();
    file.seekp(static_cast<std::streamoff>(offset));
    file.put(static_cast<char>(byte ^ 1));
  }

  std::vector<std::string> file_names() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }

  const std::vector<std::size_t> kSizes{1000, 5 * kMiB, 64};
  std::filesystem::path folder_;
  std::shared_ptr<spdlog::logger> logger_ = spdlog::default_logger();
  std::ostringstream log_;
  kernels::ThreadPool pool_{3};
};

TEST_F(WeightCacheTest, GivesBackTheSameBytes) {
  // Two runs, of which one is longer than a chunk of the arena.
  const std::vector<std::size_t> sizes{5 * kMiB + 100, 66 * kMiB};
  auto written = laid_out(sizes);
  ASSERT_EQ(written.contents().size(), 2u);
  fill(written, 7);
  cache().store(written);
  auto read = laid_out(sizes);
  ASSERT_TRUE(cache().restore(read));
  EXPECT_TRUE(same_bytes(written, read));
  EXPECT_THAT(log_.str(), testing::Not(HasSubstr("[warning]")));
}

TEST_F(WeightCacheTest, LeavesOneFileUnderItsDigest) {
  auto arena = laid_out(kSizes);
  cache().store(arena);
  cache().store(arena);
  EXPECT_THAT(file_names(), ElementsAre("0123456789abcdef.packed"));
}

TEST_F(WeightCacheTest, MakesItsFolder) {
  auto arena = laid_out(kSizes);
  const WeightCache deep((folder_ / "a" / "b").string(), kDigest, pool_);
  deep.store(arena);
  EXPECT_TRUE(deep.restore(arena));
}

TEST_F(WeightCacheTest, SaysNothingWhereThereIsNoFile) {
  auto arena = laid_out(kSizes);
  EXPECT_FALSE(cache().restore(arena));
  EXPECT_EQ(log_.str(), "");
}

TEST_F(WeightCacheTest, RefusesAFileWithAnyByteDamaged) {
  const std::size_t payload = 4096, end = payload + 1024 + 5 * kMiB + 64;
  for (const std::size_t at : {payload, payload + 4 * kMiB + 17, end - 1}) {
    expect_refused([at](const std::string& path) { flip(path, at); }, "checksum");
  }
  expect_refused([](const std::string& path) { flip(path, 0); }, "does not hold packed weights");
  expect_refused([](const std::string& path) { flip(path, 24); }, "damaged header");
  expect_refused([](const std::string& path) { flip(path, 32); }, "checksum");
}

TEST_F(WeightCacheTest, RefusesAFileThatIsTooShortOrTooLong) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{20}, std::size_t{4096}, kMiB}) {
    expect_refused([size](const std::string& path) { std::filesystem::resize_file(path, size); },
                   "has " + std::to_string(size) + " bytes, should have 5248064");
  }
  expect_refused([](const std::string& path) { std::ofstream(path, std::ios::app) << "x"; },
                 "has 5248065 bytes");
}

TEST_F(WeightCacheTest, RefusesAFileOfAnotherVersion) {
  expect_refused([](const std::string& path) { flip(path, 9); }, "has version 257");
}

TEST_F(WeightCacheTest, RefusesAFileThatWasRenamed) {
  expect_refused(
      [this](const std::string& path) {
        auto other = laid_out(kSizes);
        cache(77).store(other);
        std::filesystem::rename(cache(77).path(), path);
      },
      "holds other weights than its name says");
}

TEST_F(WeightCacheTest, AFolderThatCannotBeWrittenIsAWarning) {
  std::ofstream(folder_ / "file") << "not a folder";
  auto arena = laid_out(kSizes);
  WeightCache((folder_ / "file").string(), kDigest, pool_).store(arena);
  EXPECT_THAT(log_.str(), AllOf(HasSubstr("[warning]"), HasSubstr("/file/")));
}

TEST_F(WeightCacheTest, AFileThatCannotBePutInPlaceLeavesNothingBehind) {
  std::filesystem::create_directory(cache().path());
  auto arena = laid_out(kSizes);
  cache().store(arena);
  EXPECT_THAT(log_.str(), AllOf(HasSubstr("[warning]"), HasSubstr("cannot be renamed")));
  EXPECT_THAT(file_names(), ElementsAre("0123456789abcdef.packed"));
}

}  // namespace
}  // namespace lockstep::shard
