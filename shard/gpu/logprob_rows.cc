#include "shard/gpu/logprob_rows.h"

#include "shard/logprobs.h"

namespace lockstep::shard {
namespace {

using kernels::cuda::logprob_slices;

constexpr char kLabel[] = "logprobs";
constexpr std::int64_t kMostEntries = 2 + kMostLogprobs;

}  // namespace

LogprobRows::LogprobRows(kernels::cuda::Gpu& gpu, comm::GpuExchange& exchange,
                         const GpuWholeRows& whole, std::int32_t max_rows)
    : gpu_(gpu), exchange_(exchange), whole_(whole) {
  const Sizes elements = sizes(max_rows, exchange.size(), whole.vocabulary());
  sums_ = GpuArray<std::uint64_t>(gpu, kLabel, elements.sums);
  candidates_ = GpuArray<ScoredToken>(gpu, kLabel, elements.candidates);
  own_ = GpuArray<ScoredToken>(gpu, kLabel, elements.own);
  all_ = GpuArray<ScoredToken>(gpu, kLabel, elements.all);
  for (Results& results : results_) {
    results.pinned = gpu.pinned_memory().allocate(
        kLabel, static_cast<std::size_t>(all_.size()) * sizeof(ScoredToken));
  }
}

LogprobRows::Sizes LogprobRows::sizes(std::int32_t max_rows, int ranks, std::int32_t vocabulary) {
  const std::int64_t own_rows = kernels::cuda::divide_up(max_rows, ranks);
  const std::int64_t sums = own_rows * logprob_slices(vocabulary);
  return {.sums = sums,
          .candidates = sums * kMostLogprobs,
          .own = own_rows * kMostEntries,
          .all = max_rows * kMostEntries};
}

std::size_t LogprobRows::device_bytes(std::int32_t max_rows, int ranks, std::int32_t vocabulary) {
  const Sizes elements = sizes(max_rows, ranks, vocabulary);
  return static_cast<std::size_t>(elements.sums) * sizeof(std::uint64_t) +
         static_cast<std::size_t>(elements.candidates + elements.own + elements.all) *
             sizeof(ScoredToken);
}

std::size_t LogprobRows::upload_bytes(std::int32_t max_rows) {
  return StepUpload::whole_pieces(static_cast<std::size_t>(max_rows) * sizeof(std::int32_t));
}

void LogprobRows::lay_out(std::span<const std::int32_t> rows, std::int32_t best, std::size_t turn,
                          StepUpload& upload) {
  turn_ = turn;
  results_[turn].rows = static_cast<std::int32_t>(rows.size());
  results_[turn].entries = 2 + best;
  const std::int32_t own = whole_.share(results_[turn].rows);
  const auto sampled_row = upload.add<std::int32_t>(own);
  for (std::int32_t i = 0; i < own; ++i) {
    sampled_row.host[static_cast<std::size_t>(i)] =
        rows[static_cast<std::size_t>(whole_.dealt_as(i))];
  }
  args_ = {.logits = whole_.row(0),
           .logits_stride = whole_.stride(),
           .sampled = nullptr,
           .sampled_row = sampled_row.device,
           .sums = sums_.data(),
           .candidates = candidates_.data(),
           .out = exchange_.size() > 1 ? own_.data() : all_.data(),
           .rows = own,
           .vocabulary = whole_.vocabulary(),
           .best = best};
}

void LogprobRows::launch(const ScoredToken* chosen) {
  const Results& results = results_[turn_];
  if (results.rows == 0) return;
  args_.sampled = chosen;
  gpu_.run(args_);
  if (exchange_.size() > 1) {
    std::vector<std::size_t> counts;
    for (int rank = 0; rank < exchange_.size(); ++rank) {
      counts.push_back(results.row_bytes(whole_.share(rank, results.rows)));
    }
    exchange_.all_gather(own_.data(), all_.data(), counts, kLabel);
  }
}

void LogprobRows::download() {
  const Results& results = results_[turn_];
  gpu_.download({static_cast<std::byte*>(results.pinned.data()), results.row_bytes(results.rows)},
                all_.data(), kLabel);
}

void LogprobRows::add_to(comm::SampledToken& token, std::size_t turn, std::int32_t i,
                         std::int32_t best, const SamplingInput& input) const {
  const Results& results = results_[turn];
  const int owner = i % exchange_.size();
  std::int32_t place = i / exchange_.size();
  for (int rank = 0; rank < owner; ++rank) place += whole_.share(rank, results.rows);
  const auto* row =
      static_cast<const ScoredToken*>(results.pinned.data()) + place * results.entries;
  check_winner(row[1], input);
  token.logprob = row[0].score;
  for (std::int32_t rank = 0; rank < best && row[2 + rank].token_id >= 0; ++rank) {
    token.top_logprobs.push_back(
        {.token_id = row[2 + rank].token_id, .logprob = row[2 + rank].score});
  }
}

}  // namespace lockstep::shard
