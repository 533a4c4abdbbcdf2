// What kernels need to know of a step's rows to choose their tokens.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cuda/token_choice.h"
#include "shard/token_selection.h"

namespace lockstep::shard {

// Rows in the order in which they are added, with what their logits are modified at.
class SamplingLists {
 public:
  // `most_listed`: entries of all rows together that there is room for.
  explicit SamplingLists(std::int32_t most_listed) : most_listed_(most_listed) {}

  void clear();
  // Adds a row; false, and a row without a choice, where its biases, forbidden and counted tokens
  // have no room beside those before. Whether an answer's last token is known has no part in it:
  // ranks that know it decide like those that do not yet.
  bool add(const SamplingInput& input);
  // A row of which nothing is chosen.
  void add_none();
  // The row's winner is looked for elsewhere; its logits are modified all the same.
  void choose_elsewhere(std::int32_t row) { rows_[static_cast<std::size_t>(row)].elsewhere = 1; }

  std::span<const kernels::cuda::RowSampling> rows() const { return rows_; }
  std::span<const kernels::cuda::ListedToken> listed() const { return listed_; }

 private:
  kernels::cuda::Run run_from(std::size_t begin) const;

  const std::int32_t most_listed_;
  std::vector<kernels::cuda::RowSampling> rows_;
  std::vector<kernels::cuda::ListedToken> listed_;
  std::size_t reserved_ = 0;  // of the room; at least as many as are listed
};

}  // namespace lockstep::shard
