#include "kernels/device/matmul_algorithms.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "base/error.h"

namespace lockstep::kernels::device {
namespace {

using testing::HasSubstr;

const MatmulMachine kMachine{"NVIDIA H200", 13010, 130002};
const MatmulShape kShape{4096, 1024, 1024, 2048, 512, MatmulOutput::bf16, true};
const MatmulAlgorithm kAlgorithm{{1, 0xFEDCBA9876543210, 0, 4, 5, 6, 7, ~0ull}, 12.25};

class MatmulAlgorithmsFile : public testing::Test {
 protected:
  MatmulAlgorithmsFile() {
    std::string pattern = (std::filesystem::temp_directory_path() / "lockstep-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    file_ = folder_ / "algorithms";
  }
  ~MatmulAlgorithmsFile() override { std::filesystem::remove_all(folder_); }

  std::string text() const {
    std::ifstream in(file_);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void save(const MatmulShape& shape, const MatmulAlgorithm& algorithm) const {
    MatmulAlgorithms algorithms(file_, kMachine);
    algorithms.add(shape, algorithm);
    algorithms.save();
  }

  std::filesystem::path folder_;
  std::filesystem::path file_;
};

TEST_F(MatmulAlgorithmsFile, GivesBackWhatWasSaved) {
  save(kShape, kAlgorithm);
  const MatmulAlgorithms again(file_, kMachine);
  EXPECT_EQ(again.passed_over(), "");
  EXPECT_EQ(again.find(kShape), kAlgorithm);
}

TEST_F(MatmulAlgorithmsFile, TellsShapesApartByEveryField) {
  save(kShape, kAlgorithm);
  const MatmulAlgorithms again(file_, kMachine);
  for (int MatmulShape::*field : {&MatmulShape::n, &MatmulShape::k, &MatmulShape::x_stride,
                                  &MatmulShape::w_stride, &MatmulShape::max_rows}) {
    MatmulShape other = kShape;
    ++(other.*field);
    EXPECT_FALSE(again.find(other));
  }
  MatmulShape other = kShape;
  other.output = MatmulOutput::f32;
  EXPECT_FALSE(again.find(other));
  other = kShape;
  other.same_bits = false;
  EXPECT_FALSE(again.find(other));
}

TEST_F(MatmulAlgorithmsFile, KeepsWhatAnotherRankHasWrittenMeanwhile) {
  MatmulAlgorithms mine(file_, kMachine);
  MatmulShape other = kShape;
  other.n = 7;
  save(other, kAlgorithm);
  mine.add(kShape, kAlgorithm);
  mine.save();
  const MatmulAlgorithms again(file_, kMachine);
  EXPECT_TRUE(again.find(kShape));
  EXPECT_TRUE(again.find(other));
}

TEST_F(MatmulAlgorithmsFile, PassesOverAFileOfAnotherMachine) {
  save(kShape, kAlgorithm);
  for (const MatmulMachine& other :
       {MatmulMachine{"NVIDIA H100", 13010, 130002}, MatmulMachine{"NVIDIA H200", 13000, 130002},
        MatmulMachine{"NVIDIA H200", 13010, 130100}}) {
    const MatmulAlgorithms algorithms(file_, other);
    EXPECT_FALSE(algorithms.find(kShape));
    EXPECT_THAT(algorithms.passed_over(), HasSubstr(file_.string()));
  }
}

TEST_F(MatmulAlgorithmsFile, PassesOverAFileWithAnyByteChanged) {
  save(kShape, kAlgorithm);
  const std::string good = text();
  for (std::size_t i = 0; i + 1 < good.size(); ++i) {  // all but the line feed at the end
    std::string bad = good;
    bad[i] ^= 1;
    std::ofstream(file_) << bad;
    const MatmulAlgorithms algorithms(file_, kMachine);
    EXPECT_FALSE(algorithms.find(kShape)) << "byte " << i;
    EXPECT_NE(algorithms.passed_over(), "") << "byte " << i;
  }
}

TEST_F(MatmulAlgorithmsFile, WritesADamagedFileAnew) {
  std::ofstream(file_) << "what is this";
  save(kShape, kAlgorithm);
  EXPECT_EQ(MatmulAlgorithms(file_, kMachine).find(kShape), kAlgorithm);
}

TEST_F(MatmulAlgorithmsFile, NeedsNoFile) {
  EXPECT_EQ(MatmulAlgorithms(file_, kMachine).passed_over(), "");
  MatmulAlgorithms without("", kMachine);
  without.add(kShape, kAlgorithm);
  without.save();
  EXPECT_EQ(without.find(kShape), kAlgorithm);
}

TEST_F(MatmulAlgorithmsFile, NamesAFolderThatIsNotThere) {
  MatmulAlgorithms algorithms(folder_ / "none" / "file", kMachine);
  algorithms.add(kShape, kAlgorithm);
  try {
    algorithms.save();
    FAIL() << "saved";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr((folder_ / "none" / "file").string()));
  }
}

}  // namespace
}  // namespace lockstep::kernels::device
