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
    : gpu_(gpu),
      exchange_(exchange),
      whole_(whole),
      sums_(gpu, kLabel,
            std::int64_t{whole.share(0, max_rows)} * logprob_slices(whole.vocabulary())),
      candidates_(gpu, kLabel, sums_.size() * kMostLogprobs),
      own_(gpu, kLabel, whole.share(0, max_rows) * kMostEntries),
      all_(gpu, kLabel, max_rows * kMostEntries),
      downloaded_(gpu.pinned_memory().allocate(
          kLabel, static_cast<std::size_t>(all_.size()) * sizeof(ScoredToken))) {}

std::size_t LogprobRows::upload_bytes(std::int32_t max_rows) {
  return StepUpload::whole_pieces(static_cast<std::size_t>(max_rows) * sizeof(std::int32_t));
}

void LogprobRows::lay_out(std::span<const std::int32_t> rows, std::int32_t best,
                          StepUpload& upload) {
  rows_ = static_cast<std::int32_t>(rows.size());
  const std::int32_t own = whole_.share(rows_);
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
  if (rows_ == 0) return;
  args_.sampled = chosen;
  gpu_.run(args_);
  if (exchange_.size() > 1) {
    std::vector<std::size_t> counts;
    for (int rank = 0; rank < exchange_.size(); ++rank) {
      counts.push_back(static_cast<std::size_t>(whole_.share(rank, rows_) * entries()) *
                       sizeof(ScoredToken));
    }
    exchange_.all_gather(own_.data(), all_.data(), counts, kLabel);
  }
  gpu_.download({static_cast<std::byte*>(downloaded_.data()),
                 static_cast<std::size_t>(rows_ * entries()) * sizeof(ScoredToken)},
                all_.data(), kLabel);
}

void LogprobRows::add_to(comm::SampledToken& token, std::int32_t i,
                         const SamplingInput& input) const {
  const int owner = i % exchange_.size();
  std::int64_t place = i / exchange_.size();
  for (int rank = 0; rank < owner; ++rank) place += whole_.share(rank, rows_);
  const std::span all(static_cast<const ScoredToken*>(downloaded_.data()),
                      downloaded_.size() / sizeof(ScoredToken));
  const auto row =
      all.subspan(static_cast<std::size_t>(place * entries()), static_cast<std::size_t>(entries()));
  check_winner(row[1], input);
  token.logprob = row[0].score;
  for (const ScoredToken& best : row.subspan(2, static_cast<std::size_t>(input.params->logprobs))) {
    if (best.token_id < 0) break;
    token.top_logprobs.push_back({.token_id = best.token_id, .logprob = best.score});
  }
}

}  // namespace lockstep::shard
