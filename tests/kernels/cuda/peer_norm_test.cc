// Ranks whose kernels write into each other's memory, in many orders of their blocks, against norms
// of segments that lie in one place.
#include "kernels/cuda/peer_norm.cuh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "tests/kernels/cuda/block_executor.h"
#include "tests/kernels/cuda/random_values.h"

namespace lockstep::kernels::cuda {
namespace {

using testing::Each;

constexpr std::uint64_t kPatience = 20'000'000;  // nanoseconds: 20,000 turns of blocks
constexpr std::int32_t kChannels = 5;
constexpr std::int32_t kRows = 6;  // of the residual stream: more than there are channels
constexpr float kEps = 1e-5f;

// One all-reduce with the norm after it, the same on all ranks.
struct Turn {
  std::vector<std::int32_t> own;     // segments of each rank
  std::vector<std::int32_t> merges;  // of all
  std::vector<std::int32_t> rows;    // that are summed; each a block
  bool only_adds = false;
};

std::int32_t all_segments(const Turn& turn) {
  return std::accumulate(turn.own.begin(), turn.own.end(), std::int32_t{0});
}

// What ranks make of their turns.
struct Outcome {
  std::vector<float> hidden;
  std::vector<std::vector<std::uint16_t>> outs;  // of each turn
};

// Segment `segment` of a turn: [kRows, columns].
std::vector<float> segment_of(std::size_t turn, std::int32_t segment, std::int32_t columns) {
  return random_floats(static_cast<std::size_t>(kRows * columns),
                       static_cast<unsigned>(100 * turn) + static_cast<unsigned>(segment), 2.0f);
}

// The segments in one place, summed by the norm that reads them there.
Outcome gathered(const std::vector<Turn>& turns, std::int32_t columns) {
  DeviceMemory memory;
  Outcome outcome;
  float* hidden = memory.variable(random_floats(kRows * columns, 7), "hidden");
  const float* weight = memory.constant(random_floats(columns, 8), "weight");
  for (std::size_t i = 0; i < turns.size(); ++i) {
    const Turn& turn = turns[i];
    std::vector<float> segments;
    for (std::int32_t s = 0; s < all_segments(turn); ++s) {
      const auto values = segment_of(i, s, columns);
      segments.insert(segments.end(), values.begin(), values.end());
    }
    auto* out = memory.blank<std::uint16_t>(turn.rows.size() * columns, "out");
    const RmsNormArgs args{.hidden = hidden,
                           .update = {memory.constant(segments, "segments"), kRows * columns,
                                      all_segments(turn), memory.constant(turn.merges, "merges")},
                           .weight = weight,
                           .out = turn.only_adds ? nullptr : out,
                           .row_indices = memory.constant(turn.rows, "rows"),
                           .rows = static_cast<std::int32_t>(turn.rows.size()),
                           .columns = columns,
                           .eps = kEps};
    run_blocks(memory, rms_norm_grid(args), [&](FiberThread& t) { rms_norm<2>(t, args); });
    outcome.outs.push_back(memory.values(out));
  }
  outcome.hidden = memory.values(hidden);
  return outcome;
}

// Ranks with memory that the others have mapped.
class PeerWorld {
 public:
  PeerWorld(const std::vector<Turn>& turns, std::int32_t columns)
      : turns_(turns), columns_(columns), ranks_(turns[0].own.size()) {
    std::int32_t most = 0;
    for (const Turn& turn : turns) most = std::max(most, all_segments(turn));
    layout_ = {.rows = kChannels, .row_floats = std::int64_t{most} * columns};
    for (Rank& rank : ranks_) {
      rank.patience.assign(turns.size(), kPatience);
      rank.peer_memory = rank.memory.variable(
          std::vector<std::byte>(static_cast<std::size_t>(layout_.bytes())), "peer memory");
      rank.failures = rank.memory.variable(std::vector<std::uint64_t>(kChannels), "failures");
      rank.hidden = rank.memory.variable(random_floats(kRows * columns, 7), "hidden");
      rank.weight = rank.memory.constant(random_floats(columns, 8), "weight");
      rank.segments = rank.memory.blank<float>(
          static_cast<std::size_t>(most) * static_cast<std::size_t>(kRows * columns), "segments");
    }
    for (Rank& rank : ranks_) {
      for (Rank& peer : ranks_) {
        if (&peer == &rank) continue;
        rank.memory.map(peer.peer_memory, static_cast<std::size_t>(layout_.bytes()), "a peer's");
      }
    }
    for (std::size_t rank = 0; rank < ranks_.size(); ++rank) add_launches(rank);
  }

  // One rank waits for nobody in that turn, or launches none from that turn on.
  void be_impatient(std::size_t rank, std::size_t turn) { ranks_[rank].patience[turn] = 0; }
  void leave(std::size_t rank, std::size_t turn) { ranks_[rank].launches.resize(2 * turn); }

  void run(unsigned seed, int resident = 2) {
    std::vector<RankLaunches> all;
    for (Rank& rank : ranks_) all.push_back({&rank.memory, rank.launches});
    run_together(all, resident, seed);
  }

  Outcome outcome(std::size_t rank) {
    Outcome outcome{ranks_[rank].memory.values(ranks_[rank].hidden), {}};
    for (const auto* out : ranks_[rank].outs) {
      outcome.outs.push_back(ranks_[rank].memory.values(out));
    }
    return outcome;
  }
  std::vector<std::uint64_t> failures(std::size_t rank) {
    return ranks_[rank].memory.values(ranks_[rank].failures);
  }

 private:
  struct Rank {
    DeviceMemory memory;
    std::byte* peer_memory = nullptr;
    std::uint64_t* failures = nullptr;
    float* hidden = nullptr;
    const float* weight = nullptr;
    float* segments = nullptr;  // the same in every turn, as products have it
    std::vector<std::uint16_t*> outs;
    std::vector<std::uint64_t> patience;  // of each turn
    std::vector<BlockLaunch> launches;
  };

  PeerSum sum_of(std::size_t rank, std::size_t turn) {
    Rank& self = ranks_[rank];
    PeerSum sum{.memory = {},
                .layout = layout_,
                .segments = self.segments,
                .stride = std::int64_t{kRows} * columns_,
                .first = std::accumulate(turns_[turn].own.begin(),
                                         turns_[turn].own.begin() + static_cast<int>(rank), 0),
                .own = turns_[turn].own[rank],
                .all = all_segments(turns_[turn]),
                .merges = self.memory.constant(turns_[turn].merges, "merges"),
                .rank = static_cast<std::int32_t>(rank),
                .ranks = static_cast<std::int32_t>(ranks_.size()),
                .what = static_cast<std::int32_t>(turn),
                .patience = 0,
                .failures = self.failures};
    for (std::size_t peer = 0; peer < ranks_.size(); ++peer) {
      sum.memory[peer] = ranks_[peer].peer_memory;
    }
    return sum;
  }

  // A turn is two launches: a "product" that leaves this rank's segments, and the norm.
  void add_launches(std::size_t rank) {
    Rank& self = ranks_[rank];
    for (std::size_t i = 0; i < turns_.size(); ++i) {
      const Turn& turn = turns_[i];
      auto* out = self.memory.blank<std::uint16_t>(turn.rows.size() * columns_, "out");
      self.outs.push_back(out);
      const PeerNormArgs args{.norm = {.hidden = self.hidden,
                                       .update = {},
                                       .weight = self.weight,
                                       .out = turn.only_adds ? nullptr : out,
                                       .row_indices = self.memory.constant(turn.rows, "rows"),
                                       .rows = static_cast<std::int32_t>(turn.rows.size()),
                                       .columns = columns_,
                                       .eps = kEps},
                              .update = sum_of(rank, i)};
      std::vector<float> values;
      for (std::int32_t s = 0; s < turn.own[rank]; ++s) {
        const auto segment = segment_of(i, args.update.first + s, columns_);
        values.insert(values.end(), segment.begin(), segment.end());
      }
      self.launches.push_back({Grid{}, [values, to = self.segments](FiberThread& t) {
                                 for (std::size_t j = t.index(); j < values.size(); j += 32) {
                                   t.store(to + j, values[j]);
                                 }
                               }});
      self.launches.push_back({peer_norm_grid(args), [args, i, &self](FiberThread& t) {
                                 PeerNormArgs own = args;
                                 own.update.patience = self.patience[i];
                                 peer_norm<2>(t, own);
                               }});
    }
  }

  const std::vector<Turn> turns_;
  const std::int32_t columns_;
  PeerLayout layout_;
  std::vector<Rank> ranks_;
};

void expect_same(const Outcome& a, const Outcome& b) {
  EXPECT_EQ(bits(a.hidden), bits(b.hidden));
  EXPECT_EQ(a.outs, b.outs);
}

// Turns of another number of rows and segments each, in other rows than blocks.
std::vector<Turn> two_ranks() {
  const Turn embedding{{1, 1}, {0, 1}, {0, 1, 2, 3, 4}};
  const Turn attention{{2, 1}, {0, 0, 2}, {0, 1, 2, 3, 4}};
  const Turn last{{1, 2}, {0, 1, 1}, {5, 2}};
  const Turn added{{1, 1}, {0, 1}, {0, 5, 3}, true};
  return {embedding, attention, last, added, embedding, last, attention, attention};
}

std::vector<Turn> three_ranks() {
  const Turn even{{1, 1, 1}, {0, 1, 1}, {0, 1, 2}};
  const Turn uneven{{2, 1, 1}, {0, 1, 0, 2}, {4, 0}};
  return {even, uneven, even, even, uneven};
}

TEST(CudaPeerNorm, HasTheBitsOfGatheredSegmentsInEveryOrderOfBlocks) {
  for (const auto& turns : {two_ranks(), three_ranks()}) {
    for (const std::int32_t columns : {8, 2056}) {
      const Outcome expected = gathered(turns, columns);
      const unsigned seeds = columns == 8 ? 8 : 1;
      for (unsigned seed = 1; seed <= seeds; ++seed) {
        PeerWorld world(turns, columns);
        world.run(seed, seed % 2 == 0 ? 3 : 1);
        for (std::size_t rank = 0; rank < turns[0].own.size(); ++rank) {
          SCOPED_TRACE("rank " + std::to_string(rank) + ", seed " + std::to_string(seed));
          expect_same(world.outcome(rank), expected);
          EXPECT_THAT(world.failures(rank), Each(0u));
        }
      }
    }
  }
}

TEST(CudaPeerNorm, SumsOfEightRanks) {
  const std::vector<Turn> turns(3,
                                {std::vector<std::int32_t>(8, 1), {0, 1, 0, 2, 0, 1, 0, 3}, {1}});
  const Outcome expected = gathered(turns, 8);
  PeerWorld world(turns, 8);
  world.run(1);
  for (std::size_t rank = 0; rank < 8; ++rank) expect_same(world.outcome(rank), expected);
}

TEST(CudaPeerNorm, SaysInWhichSumWhoStayedAway) {
  const std::vector<Turn> turns(4, {{1, 1, 1}, {0, 1, 1}, {3, 1}});
  const Outcome of_two = gathered({turns[0], turns[1]}, 8);
  for (unsigned seed = 1; seed <= 3; ++seed) {
    PeerWorld world(turns, 8);
    world.leave(2, 2);
    world.run(seed);
    for (const std::size_t rank : {0u, 1u}) {
      const auto words = world.failures(rank);
      for (const std::size_t channel : {0u, 1u}) {
        ASSERT_NE(words[channel], 0u);
        EXPECT_EQ(to_failure(words[channel]).missing, 2);
        EXPECT_EQ(to_failure(words[channel]).what, 2);
      }
      EXPECT_EQ(words[2], 0u);  // a channel without a row
      EXPECT_EQ(bits(world.outcome(rank).hidden), bits(of_two.hidden));
    }
    EXPECT_THAT(world.failures(2), Each(0u));
  }
}

// The first rank does not wait in the second turn. Whoever has its segments goes on to the third,
// in which it says nothing.
TEST(CudaPeerNorm, ARankThatHasGivenUpTellsTheOthersNothingMore) {
  const std::vector<Turn> turns(3, {{1, 1, 1}, {0, 1, 1}, {0}});
  const Outcome of_one = gathered({turns[0]}, 8);
  const Outcome of_two = gathered({turns[0], turns[1]}, 8);
  int given_up = 0;
  for (unsigned seed = 1; seed <= 6; ++seed) {
    PeerWorld world(turns, 8);
    world.be_impatient(0, 1);
    world.run(seed);
    if (world.failures(0)[0] == 0) continue;  // the others were there already
    ++given_up;
    EXPECT_EQ(to_failure(world.failures(0)[0]).what, 1);
    EXPECT_EQ(bits(world.outcome(0).hidden), bits(of_one.hidden));
    for (const std::size_t rank : {1u, 2u}) {
      EXPECT_EQ(to_failure(world.failures(rank)[0]).missing, 0);
      EXPECT_EQ(to_failure(world.failures(rank)[0]).what, 2);
      EXPECT_EQ(bits(world.outcome(rank).hidden), bits(of_two.hidden));
    }
  }
  EXPECT_GT(given_up, 0);
}

TEST(PeerFailure, IsAWordAndBack) {
  for (const PeerFailure failure : {PeerFailure{0, 0}, PeerFailure{7, 160}}) {
    EXPECT_NE(to_word(failure), 0u);
    EXPECT_EQ(to_failure(to_word(failure)).missing, failure.missing);
    EXPECT_EQ(to_failure(to_word(failure)).what, failure.what);
  }
}

TEST(PeerLayout, KeepsItsPartsApart) {
  const PeerLayout layout{.rows = 3, .row_floats = 100};
  EXPECT_EQ(layout.flags(), 3 * 8);
  EXPECT_GE(layout.slots(), layout.flags() + 3 * 8 * 8);
  EXPECT_EQ(layout.slots() % 256, 0);
  EXPECT_EQ(layout.bytes(), layout.slots() + 2 * 3 * 100 * 4);
}

}  // namespace
}  // namespace lockstep::kernels::cuda
