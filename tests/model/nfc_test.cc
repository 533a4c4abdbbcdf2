#include "model/nfc.h"

#include <gtest/gtest.h>

#include <string>

namespace lockstep::model {
namespace {

std::string normalize(const std::string& text) {
  std::string storage;
  return std::string(Nfc().normalize(text, storage));
}

// Whether normalize() gives `text` itself, nothing copied.
bool is_given_back(const std::string& text) {
  std::string storage;
  return Nfc().normalize(text, storage).data() == text.data();
}

TEST(Nfc, ComposesLettersWithTheirMarks) {
  EXPECT_EQ(normalize("cafe\u0301 e\u0301t\u00e9"), "caf\u00e9 \u00e9t\u00e9");
  EXPECT_EQ(normalize("o\u0302\u0301"), "\u1ed1");  // two marks, one letter
  EXPECT_EQ(normalize("\u1112\u1161\u11ab"), "\ud55c");
  EXPECT_EQ(normalize("\u212b"), "\u00c5");        // the Angstrom sign
  EXPECT_EQ(normalize("\u0958"), "\u0915\u093c");  // never composed
}

TEST(Nfc, SortsMarksByCombiningClass) {
  EXPECT_EQ(normalize("q\u0307\u0323"), "q\u0323\u0307");
  EXPECT_EQ(normalize("\u0307\u0323"), "\u0323\u0307");
  EXPECT_EQ(normalize("q\u0307\u0301"), "q\u0307\u0301");  // of one class: as they come
}

TEST(Nfc, KeepsMarksThatCameAfterUnicode9WhereTheyAre) {
  EXPECT_EQ(normalize("e\u0898\u0301"), "e\u0898\u0301");
  EXPECT_EQ(normalize("q\u0307\u0899"), "q\u0307\u0899");
}

TEST(Nfc, GivesBackWhatIsInTheFormAlready) {
  EXPECT_TRUE(is_given_back(""));
  EXPECT_TRUE(is_given_back("plain text, longer than eight bytes"));
  EXPECT_TRUE(
      is_given_back("na\u00efve \u4f60\u597d \ud55c\uad6d \u0e2a\u0e31\u0e27 q\u0316\u033d"));
  EXPECT_FALSE(is_given_back("plain text with e\u0301"));
}

TEST(Nfc, KeepsWhatIsAroundCharactersThatChange) {
  EXPECT_EQ(normalize("before e\u0301 between a\u0308 after"),
            "before \u00e9 between \u00e4 after");
  EXPECT_EQ(normalize("12345678\u0338>\u0338=\u0338"), "12345678\u0338\u226f\u2260");
}

// With a sort of quadratic time this test does not end in its time limit.
TEST(Nfc, SortsAMillionMarks) {
  constexpr int kPairs = 1'000'000;
  std::string text = "q", above, below;
  for (int i = 0; i < kPairs; ++i) {
    text += "\u0307\u0323";
    above += "\u0307";
    below += "\u0323";
  }
  EXPECT_TRUE(normalize(text) == "q" + below + above);
}

}  // namespace
}  // namespace lockstep::model
