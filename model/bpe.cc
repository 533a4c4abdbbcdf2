#include "model/bpe.h"

#include <algorithm>

#include "model/utf8.h"

namespace lockstep::model {
namespace {

constexpr auto kIsWorse = [](const auto& a, const auto& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.left_symbol > b.left_symbol;
};

}  // namespace

Bpe::Bpe(const Vocabulary& vocabulary) : vocabulary_(vocabulary), merges_(vocabulary) {
  whole_pieces_.reserve(vocabulary.size());
  Workspace workspace;
  std::vector<std::int32_t> ids;
  for (std::int32_t id = 0; id < vocabulary.size(); ++id) {
    if (vocabulary.kind(id) != TokenKind::kNormal) continue;
    ids.clear();
    merge(vocabulary.piece(id), workspace, ids);
    const bool is_own_encoding = ids.size() == 1 && ids[0] == id;
    if (is_own_encoding || vocabulary.spec().ignore_merges) {
      whole_pieces_.emplace(vocabulary.piece(id), id);
    }
  }
}

void Bpe::encode(std::string_view piece, Workspace& workspace,
                 std::vector<std::int32_t>& ids) const {
  if (const auto whole = whole_pieces_.find(piece); whole != whole_pieces_.end()) {
    ids.push_back(whole->second);
  } else {
    merge(piece, workspace, ids);
  }
}

void Bpe::merge(std::string_view piece, Workspace& workspace,
                std::vector<std::int32_t>& ids) const {
  start_symbols(piece, workspace);
  auto& symbols = workspace.symbols_;
  auto& candidates = workspace.candidates_;
  while (!candidates.empty()) {
    const Workspace::Candidate best = candidates.front();
    std::pop_heap(candidates.begin(), candidates.end(), kIsWorse);
    candidates.pop_back();

    Workspace::Symbol& left = symbols[best.left_symbol];
    if (left.id != best.left_id || left.next < 0) continue;
    Workspace::Symbol& right = symbols[left.next];
    if (right.id != best.right_id) continue;

    left.id = merges_.find(left.id, right.id)->id;
    right.id = -1;
    left.next = right.next;
    if (left.next >= 0) symbols[left.next].previous = best.left_symbol;
    if (left.previous >= 0) add_candidate(left.previous, workspace);
    add_candidate(best.left_symbol, workspace);
  }
  for (const Workspace::Symbol& symbol : symbols) {
    if (symbol.id >= 0) ids.push_back(symbol.id);
  }
}

void Bpe::start_symbols(std::string_view piece, Workspace& workspace) const {
  auto& symbols = workspace.symbols_;
  symbols.clear();
  workspace.candidates_.clear();
  if (vocabulary_.spec().byte_fallback) {
    add_characters(piece, workspace);
  } else {
    add_bytes(piece, workspace);
  }
  if (symbols.empty()) return;
  symbols.back().next = -1;
  for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
    add_candidate(static_cast<std::int32_t>(i), workspace);
  }
}

void Bpe::add_bytes(std::string_view bytes, Workspace& workspace) const {
  for (const char c : bytes) {
    const std::int32_t id = vocabulary_.byte_token(static_cast<std::uint8_t>(c));
    if (id >= 0) workspace.add_symbol(id);
  }
}

void Bpe::add_characters(std::string_view text, Workspace& workspace) const {
  while (!text.empty()) {
    const std::string_view character = text.substr(0, first_character_size(text));
    const std::int32_t id = vocabulary_.normal_token(character);
    if (id >= 0) {
      workspace.add_symbol(id);
    } else {
      add_bytes(character, workspace);
    }
    text.remove_prefix(character.size());
  }
}

void Bpe::add_candidate(std::int32_t left_symbol, Workspace& workspace) const {
  const Workspace::Symbol& left = workspace.symbols_[left_symbol];
  if (left.next < 0) return;
  const std::int32_t right_id = workspace.symbols_[left.next].id;
  const BpeMerges::Merge* merge = merges_.find(left.id, right_id);
  if (!merge) return;
  auto& candidates = workspace.candidates_;
  candidates.push_back({merge->rank, left_symbol, left.id, right_id});
  std::push_heap(candidates.begin(), candidates.end(), kIsWorse);
}

}  // namespace lockstep::model
