// The merges of a byte-pair encoding, looked up by the two tokens they join.
#pragma once

#include <cstdint>
#include <vector>

#include "model/vocabulary.h"

namespace lockstep::model {

// A flat hash table with linear probing, at most half full.
class BpeMerges {
 public:
  struct Merge {
    std::uint32_t rank;  // lower is merged first
    std::int32_t id;     // the token that the two become
  };

  // Throws Error that names the merge when it is not "left right", when one of its tokens or their
  // concatenation is not in the vocabulary or is a control token, or when it is there twice. Of a
  // vocabulary with scores the merges are all pairs of normal tokens that make up a third; equal
  // scores are equal ranks.
  explicit BpeMerges(const Vocabulary& vocabulary);

  // The merge of two neighbours, or null.
  const Merge* find(std::int32_t left, std::int32_t right) const {
    const std::uint64_t key = make_key(left, right);
    for (std::size_t slot = first_slot(key);; slot = (slot + 1) & mask_) {
      if (entries_[slot].key == key) return &entries_[slot].merge;
      if (entries_[slot].key == kEmpty) return nullptr;
    }
  }

 private:
  // No key: ids are not negative.
  static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};

  struct Entry {
    std::uint64_t key = kEmpty;
    Merge merge{};
  };

  static std::uint64_t make_key(std::int32_t left, std::int32_t right) {
    return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 |
           static_cast<std::uint32_t>(right);
  }

  // Fibonacci hashing: the high bits of the product depend on all bits of the key.
  std::size_t first_slot(std::uint64_t key) const {
    return static_cast<std::size_t>((key * 0x9E3779B97F4A7C15u) >> 32) & mask_;
  }

  void read_lines(const Vocabulary& vocabulary);
  void derive_from_scores(const Vocabulary& vocabulary);
  void reserve(std::size_t count);
  // False when the pair is there already.
  bool insert(std::uint64_t key, Merge merge);

  std::vector<Entry> entries_;
  std::size_t mask_ = 0;
};

}  // namespace lockstep::model
