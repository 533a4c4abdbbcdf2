// The behaviour that every body of Communicator owes, written once: each test program runs these
// as rank after rank of the body it is about.
#pragma once

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "comm/communicator.h"

namespace lockstep::comm {

// The message sizes: nothing, less than a word, a page, one past a chunk, many chunks.
inline const std::vector<std::size_t> kSizes{0, 1, 7, 4096, 65536 + 13, 3 << 20};

// Byte i of what `from` sends `to` in round `round`: computed by the sender and, on its own, by
// the receiver.
inline std::byte pattern(int from, int to, std::size_t round, std::size_t i) {
  std::uint64_t x = i * 0x9E3779B97F4A7C15u + from * 0x1000193u + to * 0x10001u + round * 7919u;
  x ^= x >> 29;
  return static_cast<std::byte>(x * 0xBF58476D1CE4E5B9u >> 56);
}

inline void expect(bool holds, const std::string& what) {
  if (!holds) throw std::logic_error(what);
}

inline void append_pattern(std::vector<std::byte>& bytes, int from, int to, std::size_t round,
                           std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) bytes.push_back(pattern(from, to, round, i));
}

// Everyone brings `size` bytes more or less: rank r brings r more, and rank 1 brings none.
inline void check_all_gather(Communicator& ranks, std::size_t size, std::size_t round) {
  constexpr int kEveryone = 99;
  std::vector<std::size_t> counts;
  std::vector<std::byte> expected;
  for (int r = 0; r < ranks.size(); ++r) {
    counts.push_back(r == 1 ? 0 : size + r);
    append_pattern(expected, r, kEveryone, round, counts.back());
  }
  std::vector<std::byte> mine, all(expected.size());
  append_pattern(mine, ranks.rank(), kEveryone, round, counts[ranks.rank()]);
  ranks.all_gather(mine, all, counts, "gather");
  expect(all == expected, "all_gather gave other bytes");
}

// Rank s sends r `size` + s * 3 + r bytes, and nothing at all to the next rank.
inline void check_all_to_all(Communicator& ranks, std::size_t size, std::size_t round) {
  const auto count = [&](int from, int to) {
    return ranks.size() > 1 && to == (from + 1) % ranks.size() ? 0 : size + from * 3 + to;
  };
  std::vector<std::size_t> send_counts, receive_counts;
  std::vector<std::byte> send, expected;
  for (int r = 0; r < ranks.size(); ++r) {
    send_counts.push_back(count(ranks.rank(), r));
    append_pattern(send, ranks.rank(), r, round, send_counts.back());
    receive_counts.push_back(count(r, ranks.rank()));
    append_pattern(expected, r, ranks.rank(), round, receive_counts.back());
  }
  std::vector<std::byte> received(expected.size());
  ranks.all_to_all(send, send_counts, received, receive_counts, "exchange");
  expect(received == expected, "all_to_all gave other bytes");
}

// The operations of a step in every size, twice, so that buffers are used again.
inline void check_collectives(Communicator& ranks) {
  std::size_t round = 0;
  for (int repeat = 0; repeat < 2; ++repeat) {
    for (const std::size_t size : kSizes) {
      check_all_gather(ranks, size, ++round);
      check_all_to_all(ranks, size, ++round);
      ranks.barrier("between");
    }
  }
}

// Many small operations without a pause: a rank that is ahead must not overwrite what a slower one
// still reads.
inline void check_many_small_operations(Communicator& ranks) {
  for (std::size_t round = 0; round < 300; ++round) check_all_gather(ranks, round % 50, round);
}

// all_gather where each rank's bytes already lie at their place in the result.
inline void check_gather_in_place(Communicator& ranks) {
  constexpr std::size_t kCount = 1000;
  const std::vector<std::size_t> counts(ranks.size(), kCount);
  std::vector<std::byte> expected;
  for (int r = 0; r < ranks.size(); ++r) append_pattern(expected, r, 0, 0, kCount);
  std::vector<std::byte> all(expected.size());
  const std::span<std::byte> mine = std::span(all).subspan(ranks.rank() * kCount, kCount);
  std::copy_n(expected.begin() + ranks.rank() * kCount, kCount, mine.begin());
  ranks.all_gather(mine, all, counts, "in place");
  expect(all == expected, "all_gather in place gave other bytes");
}

}  // namespace lockstep::comm
