// Finds the tokens that are parsed in the text itself, before it is split and merged.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace lockstep::model {

// A trie of tokens. Thread-safe once built.
class AddedTokens {
 public:
  struct Match {
    std::size_t begin;
    std::size_t size;
    std::int32_t id;
  };

  // REQUIRES: !token.empty().
  void insert(std::string_view token, std::int32_t id);

  // The leftmost token in `text` from `begin` on, the longest of those that begin there.
  std::optional<Match> find(std::string_view text, std::size_t begin) const;

 private:
  struct Node {
    std::int32_t id = -1;  // of the token that ends here, -1: none does
    std::vector<std::pair<char, std::int32_t>> children;
  };

  // The child of `node` along `byte`; -1 when there is none.
  std::int32_t child(std::int32_t node, char byte) const;
  std::optional<Match> match_at(std::string_view text, std::size_t begin) const;

  std::vector<Node> nodes_ = std::vector<Node>(1);  // nodes_[0] is the root
};

}  // namespace lockstep::model
