#include "model/added_tokens.h"

namespace lockstep::model {

void AddedTokens::insert(std::string_view token, std::int32_t id) {
  std::int32_t node = 0;
  for (const char byte : token) {
    std::int32_t next = child(node, byte);
    if (next < 0) {
      next = static_cast<std::int32_t>(nodes_.size());
      nodes_[node].children.emplace_back(byte, next);
      nodes_.emplace_back();
    }
    node = next;
  }
  nodes_[node].id = id;
}

std::int32_t AddedTokens::child(std::int32_t node, char byte) const {
  for (const auto& [edge, next] : nodes_[node].children) {
    if (edge == byte) return next;
  }
  return -1;
}

std::optional<AddedTokens::Match> AddedTokens::match_at(std::string_view text,
                                                        std::size_t begin) const {
  std::optional<Match> longest;
  std::int32_t node = 0;
  for (std::size_t at = begin; at < text.size(); ++at) {
    node = child(node, text[at]);
    if (node < 0) break;
    if (nodes_[node].id >= 0) longest = Match{begin, at + 1 - begin, nodes_[node].id};
  }
  return longest;
}

std::optional<AddedTokens::Match> AddedTokens::find(std::string_view text,
                                                    std::size_t begin) const {
  if (nodes_.size() == 1) return std::nullopt;
  for (; begin < text.size(); ++begin) {
    if (const std::optional<Match> match = match_at(text, begin)) return match;
  }
  return std::nullopt;
}

}  // namespace lockstep::model
