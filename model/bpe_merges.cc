#include "model/bpe_merges.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "model/fail.h"
#include "model/utf8.h"

namespace lockstep::model {
namespace {

constexpr std::size_t kMaxMerges = std::size_t{1} << 30;

// One line of the list of merges, and all that can be wrong with it.
class MergeLine {
 public:
  MergeLine(const Vocabulary& vocabulary, std::size_t index)
      : vocabulary_(vocabulary), index_(index), line_(vocabulary.spec().merges[index]) {
    space_ = line_.find(' ');
    if (space_ == std::string_view::npos || space_ == 0 || space_ + 1 == line_.size() ||
        line_.find(' ', space_ + 1) != std::string_view::npos) {
      fail("is not two tokens with a space between them");
    }
  }

  std::int32_t left() const { return find_token(line_.substr(0, space_)); }
  std::int32_t right() const { return find_token(line_.substr(space_ + 1)); }
  std::int32_t merged() const {
    return find_token(std::string(line_.substr(0, space_)).append(line_.substr(space_ + 1)));
  }

  [[noreturn]] void fail(const std::string& why) const {
    throw Error(vocabulary_.path() + ": merges[" + std::to_string(index_) + "] " +
                in_quotes(line_) + " " + why);
  }

 private:
  std::int32_t find_token(std::string_view token) const {
    const std::optional<std::int32_t> id = vocabulary_.find(token);
    if (!id) fail("refers to " + in_quotes(token) + ", which is not a token");
    if (vocabulary_.kind(*id) == TokenKind::kSpecial) {
      fail("refers to the control token " + in_quotes(token));
    }
    return *id;
  }

  const Vocabulary& vocabulary_;
  std::size_t index_;
  std::string_view line_;
  std::size_t space_ = 0;
};

// The place of each score among all, the best first.
std::vector<std::uint32_t> rank_scores(const std::vector<float>& scores) {
  std::vector<float> sorted = scores;
  std::ranges::sort(sorted, std::greater<>());
  std::vector<std::uint32_t> ranks;
  ranks.reserve(scores.size());
  for (const float score : scores) {
    const auto place = std::ranges::lower_bound(sorted, score, std::greater<>());
    ranks.push_back(static_cast<std::uint32_t>(place - sorted.begin()));
  }
  return ranks;
}

}  // namespace

BpeMerges::BpeMerges(const Vocabulary& vocabulary) {
  if (vocabulary.spec().scores.empty()) {
    read_lines(vocabulary);
  } else {
    derive_from_scores(vocabulary);
  }
}

void BpeMerges::read_lines(const Vocabulary& vocabulary) {
  const std::size_t count = vocabulary.spec().merges.size();
  if (count > kMaxMerges) throw Error(vocabulary.path() + ": the model has too many merges");
  reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    const MergeLine line(vocabulary, i);
    const std::uint64_t key = make_key(line.left(), line.right());
    if (!insert(key, {static_cast<std::uint32_t>(i), line.merged()})) line.fail("is there twice");
  }
}

void BpeMerges::derive_from_scores(const Vocabulary& vocabulary) {
  const std::vector<std::uint32_t> ranks = rank_scores(vocabulary.spec().scores);
  std::vector<std::pair<std::uint64_t, Merge>> merges;
  for (std::int32_t id = 0; id < static_cast<std::int32_t>(ranks.size()); ++id) {
    if (vocabulary.kind(id) != TokenKind::kNormal) continue;
    const std::string_view text = vocabulary.piece(id);
    for (std::size_t cut = first_character_size(text); cut < text.size();
         cut += first_character_size(text.substr(cut))) {
      const std::int32_t left = vocabulary.normal_token(text.substr(0, cut));
      if (left < 0) continue;
      const std::int32_t right = vocabulary.normal_token(text.substr(cut));
      if (right >= 0) merges.emplace_back(make_key(left, right), Merge{ranks[id], id});
    }
  }
  reserve(merges.size());
  for (const auto& [key, merge] : merges) insert(key, merge);
}

void BpeMerges::reserve(std::size_t count) {
  entries_.resize(std::bit_ceil(2 * count + 2));
  mask_ = entries_.size() - 1;
}

bool BpeMerges::insert(std::uint64_t key, Merge merge) {
  std::size_t slot = first_slot(key);
  while (entries_[slot].key != kEmpty) {
    if (entries_[slot].key == key) return false;
    slot = (slot + 1) & mask_;
  }
  entries_[slot] = {key, merge};
  return true;
}

}  // namespace lockstep::model
