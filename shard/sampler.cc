#include "shard/sampler.h"

#include <algorithm>
#include <exception>
#include <string>
#include <utility>

#include "base/error.h"
#include "kernels/token_weight.h"

namespace lockstep::shard {
namespace {

// Bounds the memory of gathered rows: 16 rows of a vocabulary of 128,256 are 8 MB.
constexpr std::size_t kRowsPerGather = 16;

std::size_t size_of(VocabRange range) { return static_cast<std::size_t>(range.end - range.begin); }

bool needs_whole_row(const comm::SamplingParams& params) {
  return params.logprobs >= 0 || has_truncation(params);
}

}  // namespace

Sampler::Sampler(comm::Communicator& communicator, VocabRange mine, std::vector<VocabRange> all,
                 kernels::ThreadPool* pool)
    : communicator_(communicator), mine_(mine), all_(std::move(all)), pool_(pool) {
  if (all_.size() != static_cast<std::size_t>(communicator.size())) {
    throw Error("vocabulary ranges: " + std::to_string(all_.size()) + " for " +
                std::to_string(communicator.size()) + " ranks");
  }
  std::int32_t end = 0;
  for (const VocabRange range : all_) {
    if (range.begin != end || range.end < range.begin) {
      throw Error("vocabulary range [" + std::to_string(range.begin) + ", " +
                  std::to_string(range.end) + ") does not follow row " + std::to_string(end));
    }
    end = range.end;
  }
  const VocabRange expected = all_[static_cast<std::size_t>(communicator.rank())];
  if (mine.begin != expected.begin || mine.end != expected.end) {
    throw Error("vocabulary range of rank " + std::to_string(communicator.rank()) +
                " differs from its place in the list");
  }
  if (end > kernels::kMostWeighedTokens) {
    throw Error("a vocabulary of " + std::to_string(end) + " tokens: the limit is " +
                std::to_string(kernels::kMostWeighedTokens));
  }
}

template <class Work>
void Sampler::for_rows(std::size_t count, const Work& work) {
  std::vector<std::exception_ptr> failures(count);
  const auto run = [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
      try {
        work(i);
      } catch (...) {
        failures[i] = std::current_exception();
      }
    }
  };
  const auto rows = static_cast<std::ptrdiff_t>(count);
  pool_ == nullptr ? run(0, rows) : pool_->for_ranges(rows, run);
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

std::vector<comm::SampledToken> Sampler::sample(std::span<float> local_logits,
                                                std::span<const SamplingInput> inputs) {
  if (local_logits.size() != inputs.size() * local_size()) {
    throw Error("sampler: " + std::to_string(local_logits.size()) + " logits for " +
                std::to_string(inputs.size()) + " rows of " + std::to_string(local_size()));
  }
  std::vector<std::size_t> by_best;
  std::vector<std::size_t> by_row;
  for (std::size_t row = 0; row < inputs.size(); ++row) {
    (needs_whole_row(*inputs[row].params) ? by_row : by_best).push_back(row);
  }
  std::vector<comm::SampledToken> results(inputs.size());
  if (!by_best.empty()) sample_by_best(local_logits, inputs, by_best, results);
  for (std::size_t begin = 0; begin < by_row.size(); begin += kRowsPerGather) {
    const std::size_t count = std::min(kRowsPerGather, by_row.size() - begin);
    sample_by_row(local_logits, inputs, std::span(by_row).subspan(begin, count), results);
  }
  return results;
}

void Sampler::sample_by_best(std::span<float> local_logits, std::span<const SamplingInput> inputs,
                             std::span<const std::size_t> rows,
                             std::span<comm::SampledToken> results) {
  std::vector<ScoredToken> mine(rows.size());
  for_rows(rows.size(), [&](std::size_t i) {
    const SamplingInput& input = inputs[rows[i]];
    const std::span<float> logits = local_logits.subspan(rows[i] * local_size(), local_size());
    modify_logits(logits, mine_, input);
    mine[i] = best_token(logits, mine_, input);
  });
  std::vector<ScoredToken> all(all_.size() * rows.size());
  const std::vector<std::size_t> counts(all_.size(), rows.size() * sizeof(ScoredToken));
  communicator_.all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)),
                           counts, "sampler best tokens");
  for (std::size_t i = 0; i < rows.size(); ++i) {
    ScoredToken winner;
    for (std::size_t rank = 0; rank < all_.size(); ++rank) {
      const ScoredToken candidate = all[rank * rows.size() + i];
      if (wins(candidate, winner)) winner = candidate;
    }
    const SamplingInput& input = inputs[rows[i]];
    check_winner(winner, input);
    results[rows[i]].sequence_id = input.sequence_id;
    results[rows[i]].token_id = winner.token_id;
  }
}

void Sampler::sample_by_row(std::span<const float> local_logits,
                            std::span<const SamplingInput> inputs,
                            std::span<const std::size_t> rows,
                            std::span<comm::SampledToken> results) {
  local_rows_.clear();
  for (const std::size_t row : rows) {
    const auto logits = local_logits.subspan(row * local_size(), local_size());
    local_rows_.insert(local_rows_.end(), logits.begin(), logits.end());
  }
  const auto vocab_size = static_cast<std::size_t>(all_.back().end);
  gathered_rows_.resize(rows.size() * vocab_size);
  whole_rows_.resize(rows.size() * vocab_size);
  std::vector<std::size_t> counts;
  for (const VocabRange range : all_) {
    counts.push_back(rows.size() * size_of(range) * sizeof(float));
  }
  communicator_.all_gather(std::as_bytes(std::span(local_rows_)),
                           std::as_writable_bytes(std::span(gathered_rows_)), counts,
                           "sampler logits");
  for_rows(rows.size(), [&](std::size_t i) {
    const std::span whole_row = std::span(whole_rows_).subspan(i * vocab_size, vocab_size);
    for (const VocabRange range : all_) {
      // The rows of rank r begin after those of the ranks before it, which hold range.begin
      // columns together.
      const auto first =
          gathered_rows_.begin() +
          static_cast<std::ptrdiff_t>(rows.size() * static_cast<std::size_t>(range.begin) +
                                      i * size_of(range));
      std::copy_n(first, size_of(range), whole_row.begin() + range.begin);
    }
    results[rows[i]] = select_token(whole_row, inputs[rows[i]]);
  });
}

}  // namespace lockstep::shard
