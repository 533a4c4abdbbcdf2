// Which tokens a sequence holds and how often: what the penalties need.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace lockstep::shard {

struct TokenCount {
  std::int32_t token_id = 0;
  std::int32_t in_answer = 0;  // times in the answer; 0: in the prompt only
};

// One entry for each distinct token of a prompt and its answer.
class TokenCounts {
 public:
  void add_prompt_token(std::int32_t token_id) { entry(token_id); }
  // Entries there were before the last token was added.
  std::size_t before_last() const { return before_last_; }
  void add_answer_token(std::int32_t token_id) { ++entry(token_id).in_answer; }
  // In the order of first appearance.
  std::span<const TokenCount> entries() const { return entries_; }

 private:
  TokenCount& entry(std::int32_t token_id) {
    before_last_ = entries_.size();
    const auto [found, added] = index_.try_emplace(token_id, entries_.size());
    if (added) entries_.push_back({.token_id = token_id});
    return entries_[found->second];
  }

  std::vector<TokenCount> entries_;
  std::size_t before_last_ = 0;
  std::unordered_map<std::int32_t, std::size_t> index_;  // token id to its place in entries_
};

}  // namespace lockstep::shard
