#include "base/hash.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cstdint>
#include <set>
#include <span>

namespace lockstep {
namespace {

TEST(Hash64, GivesTheRecordedValues) {
  EXPECT_EQ(Hash64().value(), 0u);
  EXPECT_EQ(Hash64().add(0).value(), 0x9CA066F1A4AB2EEAu);
  EXPECT_EQ(Hash64().add(1).add(-1).add(2.5f).value(), 0xEC6427F64830E258u);
}

TEST(Hash64, CountsOrderLengthAndEveryBit) {
  std::set<std::uint64_t> values = {Hash64().add(1).add(2).value(), Hash64().add(2).add(1).value(),
                                    Hash64().add(0).value(), Hash64().add(0).add(0).value(),
                                    Hash64().add(0.0f).add(-0.0f).value()};
  EXPECT_EQ(values.size(), 5u);
  values.clear();
  for (int bit = 0; bit < 64; ++bit) {
    values.insert(Hash64().add(std::uint64_t{1} << bit).add(3).value());
  }
  EXPECT_EQ(values.size(), 64u);
}

TEST(Hash64, TakesBytesAsTheirNumberAndWords) {
  const std::array<std::uint8_t, 11> bytes{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  EXPECT_EQ(Hash64().add(std::as_bytes(std::span(bytes))).value(),
            Hash64().add(11).add(0x0807060504030201u).add(0x0B0A09u).value());
  EXPECT_EQ(Hash64().add(std::span<const std::byte>()).value(), Hash64().add(0).value());
}

TEST(Hash64, OneBitOfInputChangesAboutHalfTheOutput) {
  int changed = 0;
  for (int bit = 0; bit < 64; ++bit) {
    changed += std::popcount(Hash64().add(77u).value() ^
                             Hash64().add(77u ^ (std::uint64_t{1} << bit)).value());
  }
  EXPECT_NEAR(changed / 64.0, 32.0, 2.0);
}

}  // namespace
}  // namespace lockstep
