// Byte-pair encoding of one piece of text (Sennrich et al. 2016, arXiv:1508.07909), of its bytes
// (Radford et al. 2019, section 2.2) or, with byte_fallback, of its characters (Kudo and Richardson
// 2018, arXiv:1808.06226).
#pragma once

#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "model/bpe_merges.h"
#include "model/vocabulary.h"

namespace lockstep::model {

// Thread-safe: encode() changes nothing but the caller's workspace.
class Bpe {
 public:
  // The memory of one thread, to be used again for the next piece.
  class Workspace {
    friend class Bpe;

    // A node of a doubly linked list in the order of the text.
    struct Symbol {
      std::int32_t id;  // -1 once it was merged into its left neighbour
      std::int32_t previous;
      std::int32_t next;  // -1 at the ends
    };
    // Two neighbours that could be merged when they were seen; they may have changed since.
    struct Candidate {
      std::uint32_t rank;
      std::int32_t left_symbol;
      std::int32_t left_id;
      std::int32_t right_id;
    };

    void add_symbol(std::int32_t id) {
      const auto index = static_cast<std::int32_t>(symbols_.size());
      symbols_.push_back({id, index - 1, index + 1});
    }

    std::vector<Symbol> symbols_;
    std::vector<Candidate> candidates_;  // a heap: lowest rank, then leftmost, at the front
  };

  // Keeps a reference to `vocabulary`. Throws Error that names the merge at fault.
  explicit Bpe(const Vocabulary& vocabulary);

  // Appends the tokens of `piece` to `ids`: always the best-ranked merge first, of equal ones the
  // leftmost, until none is left; O(n log n). Bytes without a token are left out; with
  // byte_fallback all have one.
  // REQUIRES: `piece` has fewer than 2^31 bytes, U+2581 counted as one; with byte_fallback it is
  // valid UTF-8.
  void encode(std::string_view piece, Workspace& workspace, std::vector<std::int32_t>& ids) const;

 private:
  void merge(std::string_view piece, Workspace& workspace, std::vector<std::int32_t>& ids) const;
  void start_symbols(std::string_view piece, Workspace& workspace) const;
  void add_bytes(std::string_view bytes, Workspace& workspace) const;
  void add_characters(std::string_view text, Workspace& workspace) const;
  void add_candidate(std::int32_t left_symbol, Workspace& workspace) const;

  const Vocabulary& vocabulary_;
  BpeMerges merges_;
  // Pieces whose encoding is known to be one token: the tokens that their own bytes are merged to,
  // or all when the model does not merge a piece that is a token.
  std::unordered_map<std::string_view, std::int32_t> whole_pieces_;
};

}  // namespace lockstep::model
