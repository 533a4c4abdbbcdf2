// Sampling over a vocabulary whose rows are spread over the ranks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "comm/message.h"
#include "kernels/thread_pool.h"
#include "shard/model_runner.h"
#include "shard/token_selection.h"

namespace lockstep::shard {

// Every rank chooses the same tokens, bit for bit the same at any world size and whatever other
// rows share the call.
//   - Rows that need no more than the largest score (greedy, or a temperature alone): each rank
//     finds the best of its range and eight bytes a rank and row are exchanged.
//   - Rows with top_k, top_p, min_p or logprobs: their raw logits are gathered, and every rank
//     does the same computation on the whole row.
class Sampler {
 public:
  // `mine`: the vocabulary rows of this rank; `all`: those of every rank, which follow each other
  // from 0 without gaps (a range may be empty). The communicator must outlive the sampler, and so
  // must `pool`, over which rows are shared out; without one, the calling thread does them all.
  // Throws Error if `all` is not so, or `mine` is not all[rank], or the vocabulary is too large for
  // sums of weights (kernels/token_weight.h).
  Sampler(comm::Communicator& communicator, VocabRange mine, std::vector<VocabRange> all,
          kernels::ThreadPool* pool = nullptr);

  // Chooses one token for each input from its row of `local_logits`
  // [inputs.size(), mine.end - mine.begin], which is modified. A collective call: all ranks pass
  // the same inputs. Results are in the order of the inputs.
  // Throws Error if the size of local_logits is wrong or a row has no token to choose.
  std::vector<comm::SampledToken> sample(std::span<float> local_logits,
                                         std::span<const SamplingInput> inputs);

 private:
  void sample_by_best(std::span<float> local_logits, std::span<const SamplingInput> inputs,
                      std::span<const std::size_t> rows, std::span<comm::SampledToken> results);
  void sample_by_row(std::span<const float> local_logits, std::span<const SamplingInput> inputs,
                     std::span<const std::size_t> rows, std::span<comm::SampledToken> results);

  // work(i) for every i below count. Throws what the first i whose work throws has thrown.
  template <class Work>
  void for_rows(std::size_t count, const Work& work);

  std::size_t local_size() const { return static_cast<std::size_t>(mine_.end - mine_.begin); }

  comm::Communicator& communicator_;
  VocabRange mine_;
  std::vector<VocabRange> all_;
  kernels::ThreadPool* pool_;
  // Kept between calls for their memory.
  std::vector<float> local_rows_;     // [rows, local_size()]
  std::vector<float> gathered_rows_;  // for each rank [rows, size of its range]
  std::vector<float> whole_rows_;     // [rows, vocab_size]
};

}  // namespace lockstep::shard
