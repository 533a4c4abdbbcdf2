// Kernels that exchange by themselves, on one GPU: ranks are streams of this process, so that their
// blocks run at the same time. (Ranks as processes: tests/comm/cuda.)
#include "kernels/cuda/peer_norm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "kernels/cuda/stream_gpu.h"
#include "tests/kernels/cuda/random_values.h"
#include "tests/kernels/cuda_device/device_fixture.h"

namespace lockstep::kernels::cuda {
namespace {

constexpr std::int32_t kColumns = 4096;
constexpr std::int32_t kRows = 16;
constexpr std::uint64_t kPatience = 20'000'000'000;  // nanoseconds

class PeerNormOnDevice : public OnDevice {
 protected:
  // One rank: its stream, and what it computes with.
  struct Rank {
    explicit Rank(const Device& device) : gpu(device) {}
    StreamGpu gpu;
    device::Allocation memory, hidden, weight, segments, out, failures, staging;
  };

  void make_ranks(int count) {
    for (int rank = 0; rank < count; ++rank) {
      Rank& made = *ranks_.emplace_back(std::make_unique<Rank>(device()));
      layout_ = {.rows = kRows, .row_floats = std::int64_t{count} * kColumns};
      made.memory = made.gpu.memory().allocate("peers", static_cast<std::size_t>(layout_.bytes()));
      made.gpu.clear(made.memory.data(), made.memory.size(), "peers");
      made.failures = made.gpu.mapped_memory().allocate("failures", kRows * 8);
      std::memset(made.failures.data(), 0, made.failures.size());
      made.staging = made.gpu.pinned_memory().allocate("staging", kRows * kColumns * sizeof(float));
      made.hidden = upload(made, random_floats(kRows * kColumns, 1));
      made.weight = upload(made, random_floats(kColumns, 2));
      made.segments = upload(made, std::vector<float>(kRows * kColumns));
      made.out = made.gpu.memory().allocate("out", kRows * kColumns * 2);
    }
    std::vector<std::int32_t> merges(static_cast<std::size_t>(count), 1);
    merges[0] = 0;
    merges_ = upload(*ranks_[0], merges);
  }

  template <class T>
  device::Allocation upload(Rank& rank, const std::vector<T>& values) {
    auto memory = rank.gpu.memory().allocate("test", values.size() * sizeof(T));
    refill(rank, memory, values);
    return memory;
  }
  template <class T>
  void refill(Rank& rank, const device::Allocation& memory, const std::vector<T>& values) {
    std::memcpy(rank.staging.data(), values.data(), values.size() * sizeof(T));
    rank.gpu.upload(memory.data(),
                    {static_cast<std::byte*>(rank.staging.data()), values.size() * sizeof(T)},
                    "test");
    rank.gpu.synchronize("test");
  }
  template <class T>
  std::vector<T> download(Rank& rank, const device::Allocation& memory) {
    std::vector<T> values(memory.size() / sizeof(T));
    const std::span staged(static_cast<std::byte*>(rank.staging.data()), memory.size());
    rank.gpu.download(staged, memory.data(), "test");
    rank.gpu.synchronize("test");
    std::memcpy(values.data(), staged.data(), staged.size());
    return values;
  }

  RmsNormArgs norm_of(const Rank& rank, std::int32_t rows) const {
    return {.hidden = static_cast<float*>(rank.hidden.data()),
            .update = {},
            .weight = static_cast<const float*>(rank.weight.data()),
            .out = static_cast<std::uint16_t*>(rank.out.data()),
            .row_indices = nullptr,
            .rows = rows,
            .columns = kColumns,
            .eps = 1e-5f};
  }
  PeerNormArgs args_of(std::size_t rank, std::int32_t rows, std::uint64_t patience = kPatience) {
    PeerNormArgs args{
        .norm = norm_of(*ranks_[rank], rows),
        .update = {.memory = {},
                   .layout = layout_,
                   .segments = static_cast<const float*>(ranks_[rank]->segments.data()),
                   .stride = kRows * kColumns,
                   .first = static_cast<std::int32_t>(rank),
                   .own = 1,
                   .all = static_cast<std::int32_t>(ranks_.size()),
                   .merges = static_cast<const std::int32_t*>(merges_.data()),
                   .rank = static_cast<std::int32_t>(rank),
                   .ranks = static_cast<std::int32_t>(ranks_.size()),
                   .what = 7,
                   .patience = patience,
                   .failures = static_cast<std::uint64_t*>(ranks_[rank]->failures.data())}};
    for (std::size_t peer = 0; peer < ranks_.size(); ++peer) {
      args.update.memory[peer] = static_cast<std::byte*>(ranks_[peer]->memory.data());
    }
    return args;
  }

  static std::vector<float> segment(unsigned turn, std::size_t rank) {
    return random_floats(kRows * kColumns, 100 * turn + static_cast<unsigned>(rank), 2.0f);
  }

  // The same turns with all segments in one place.
  std::vector<std::uint16_t> expected(unsigned turns, std::int32_t rows) {
    Rank whole(device());
    whole.staging = whole.gpu.pinned_memory().allocate(
        "staging", ranks_.size() * kRows * kColumns * sizeof(float));
    whole.hidden = upload(whole, random_floats(kRows * kColumns, 1));
    whole.weight = upload(whole, random_floats(kColumns, 2));
    whole.out = whole.gpu.memory().allocate("out", kRows * kColumns * 2);
    for (unsigned turn = 0; turn < turns; ++turn) {
      std::vector<float> all;
      for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
        const auto one = segment(turn, rank);
        all.insert(all.end(), one.begin(), one.end());
      }
      const auto segments = upload(whole, all);
      RmsNormArgs args = norm_of(whole, rows);
      args.update = {static_cast<const float*>(segments.data()), kRows * kColumns,
                     static_cast<std::int32_t>(ranks_.size()),
                     static_cast<const std::int32_t*>(merges_.data())};
      whole.gpu.run(args);
      whole.gpu.synchronize("test");
    }
    return download<std::uint16_t>(whole, whole.out);
  }

  std::vector<std::unique_ptr<Rank>> ranks_;
  PeerLayout layout_;
  device::Allocation merges_;
};

TEST_F(PeerNormOnDevice, HasTheBitsOfGatheredSegmentsTurnAfterTurn) {
  for (const int count : {2, 4}) {
    merges_ = {};  // of the first rank's pool
    ranks_.clear();
    make_ranks(count);
    constexpr unsigned kTurns = 50;
    for (unsigned turn = 0; turn < kTurns; ++turn) {
      for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
        refill(*ranks_[rank], ranks_[rank]->segments, segment(turn, rank));
      }
      // Who begins changes.
      for (std::size_t i = 0; i < ranks_.size(); ++i) {
        const std::size_t rank = (i + turn) % ranks_.size();
        ranks_[rank]->gpu.run(args_of(rank, kRows));
      }
      for (const auto& rank : ranks_) rank->gpu.synchronize("test");
    }
    const auto out = expected(kTurns, kRows);
    for (const auto& rank : ranks_) {
      EXPECT_EQ(download<std::uint16_t>(*rank, rank->out), out);
    }
  }
}

// The turn is counted on the device: a recording can be launched again and again.
TEST_F(PeerNormOnDevice, WorksInARecording) {
  make_ranks(2);
  std::vector<std::unique_ptr<Recording>> recordings;
  for (std::size_t rank = 0; rank < 2; ++rank) {
    recordings.push_back(
        ranks_[rank]->gpu.record([&] { ranks_[rank]->gpu.run(args_of(rank, kRows)); }));
  }
  constexpr unsigned kTurns = 20;
  for (unsigned turn = 0; turn < kTurns; ++turn) {
    for (std::size_t rank = 0; rank < 2; ++rank) {
      refill(*ranks_[rank], ranks_[rank]->segments, segment(turn, rank));
    }
    for (const auto& recording : recordings) recording->launch();
    for (const auto& rank : ranks_) rank->gpu.synchronize("test");
  }
  const auto out = expected(kTurns, kRows);
  for (const auto& rank : ranks_) EXPECT_EQ(download<std::uint16_t>(*rank, rank->out), out);
}

TEST_F(PeerNormOnDevice, GivesUpOnARankThatStaysAway) {
  make_ranks(2);
  ranks_[0]->gpu.run(args_of(0, 3, 50'000'000));
  ranks_[0]->gpu.synchronize("test");
  const std::span words(static_cast<const std::uint64_t*>(ranks_[0]->failures.data()), kRows);
  for (std::size_t channel = 0; channel < kRows; ++channel) {
    if (channel >= 3) {
      EXPECT_EQ(words[channel], 0u);
      continue;
    }
    EXPECT_EQ(to_failure(words[channel]).missing, 1);
    EXPECT_EQ(to_failure(words[channel]).what, 7);
  }
}

}  // namespace
}  // namespace lockstep::kernels::cuda
