#include "shard/gpu/token_choice.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <string>

#include "base/error.h"
#include "shard/truncation.h"

namespace lockstep::shard {
namespace {

using namespace kernels::cuda;

constexpr char kLabel[] = "choice of tokens";

template <class T>
const T* uploaded(StepUpload& upload, std::span<const T> values) {
  const auto piece = upload.add<T>(std::ssize(values));
  std::ranges::copy(values, piece.host.begin());
  return piece.device;
}

// A row may be dealt twice: raw and modified.
std::int32_t most_dealt(const GpuChoiceOptions& options) { return 2 * options.max_sequences; }

// Of the modified rows, those that one rank gets.
std::int32_t most_truncated(const GpuChoiceOptions& options, int ranks) {
  return static_cast<std::int32_t>(divide_up(options.max_sequences, ranks));
}

}  // namespace

std::size_t GpuTokenChoice::upload_bytes(const GpuChoiceOptions& options, int ranks) {
  const auto rows = static_cast<std::size_t>(options.max_sequences);
  return 2 * StepUpload::whole_pieces(rows * sizeof(RowSampling)) +
         StepUpload::whole_pieces(static_cast<std::size_t>(options.most_listed) *
                                  sizeof(ListedToken)) +
         StepUpload::whole_pieces(rows * sizeof(RowTruncation)) +
         StepUpload::whole_pieces(rows * sizeof(std::int32_t)) +
         GpuWholeRows::upload_bytes(most_dealt(options), ranks) +
         LogprobRows::upload_bytes(options.max_sequences);
}

GpuTokenChoice::GpuTokenChoice(GpuLlamaRunner& model, const GpuChoiceOptions& options, Gpu& gpu,
                               comm::GpuExchange& exchange, Sampler& sampler)
    : model_(model),
      gpu_(gpu),
      exchange_(exchange),
      sampler_(sampler),
      options_(model.has_head() ? options : GpuChoiceOptions{.max_sequences = 0, .most_listed = 0}),
      whole_(gpu, exchange, model.vocab_ranges(), most_dealt(options_)),
      logprobs_(gpu, exchange, whole_, options_.max_sequences),
      candidates_(gpu, kLabel,
                  std::int64_t{options_.max_sequences} *
                      choice_slices(model.vocab_range().begin, model.vocab_range().end)),
      whole_candidates_(gpu, kLabel,
                        std::int64_t{most_truncated(options_, exchange.size())} *
                            choice_slices(0, whole_.vocabulary())),
      winners_(gpu, kLabel, std::int64_t{options_.max_sequences} * exchange.size()),
      chosen_(gpu, kLabel, options_.max_sequences),
      cuts_(gpu, kLabel, most_truncated(options_, exchange.size())),
      downloaded_(gpu.pinned_memory().allocate(
          kLabel, static_cast<std::size_t>(options_.max_sequences) * sizeof(ScoredToken))),
      lists_(options_.most_listed) {}

void GpuTokenChoice::lay_out(std::span<const SamplingInput> inputs) {
  if (std::ssize(inputs) > options_.max_sequences) {
    throw Error("tokens to choose: " + std::to_string(inputs.size()) + ", the limit is " +
                std::to_string(options_.max_sequences));
  }
  lists_.clear();
  host_rows_.clear();
  truncated_rows_.clear();
  logprob_rows_.clear();
  std::int32_t best = 0;
  for (std::int32_t row = 0; row < std::ssize(inputs); ++row) {
    const SamplingInput& input = inputs[static_cast<std::size_t>(row)];
    if (!lists_.add(input)) {
      host_rows_.push_back(row);
      continue;
    }
    if (has_truncation(*input.params)) {
      truncated_rows_.push_back(row);
      lists_.choose_elsewhere();
    }
    if (input.params->logprobs < 0) continue;
    logprob_rows_.push_back(row);
    best = std::max(best, input.params->logprobs);
  }
  if (!host_rows_.empty() && host_rows_count_ == 0) {
    spdlog::warn(
        "biases, stop tokens and penalties of a step take more than {} entries: the tokens of some "
        "rows are chosen on the host (lockstep_gpu_rows_chosen_on_host_total)",
        options_.most_listed);
  }
  host_rows_count_ += host_rows_.size();
  const auto rows = static_cast<std::int32_t>(inputs.size());
  StepUpload& upload = model_.step_upload();
  args_ = {.logits = nullptr,
           .logits_stride = 0,
           .sampling = uploaded(upload, lists_.rows()),
           .listed = uploaded(upload, lists_.listed()),
           .sampled = nullptr,
           .cuts = nullptr,
           .places = nullptr,
           .candidates = candidates_.data(),
           .winners = exchange_.size() > 1 ? winners_.data() + std::int64_t{exchange_.rank()} * rows
                                           : chosen_.data(),
           .begin_token = model_.vocab_range().begin,
           .end_token = model_.vocab_range().end,
           .rows = rows};
  std::vector<std::int32_t> dealt = logprob_rows_;
  dealt.insert(dealt.end(), truncated_rows_.begin(), truncated_rows_.end());
  whole_.lay_out(dealt, model_.logits_stride(), upload);
  logprobs_.lay_out(logprob_rows_, best, upload);
  lay_out_truncated(inputs, static_cast<std::int32_t>(logprob_rows_.size()));
}

// What this rank needs to choose the tokens of its whole rows. `before`: rows that are dealt before
// the modified ones.
void GpuTokenChoice::lay_out_truncated(std::span<const SamplingInput> inputs, std::int32_t before) {
  const auto dealt = before + static_cast<std::int32_t>(truncated_rows_.size());
  const std::int32_t first = whole_.share(before);
  std::vector<RowSampling> sampling;
  std::vector<RowTruncation> truncation;
  std::vector<std::int32_t> places;
  for (std::int32_t i = first; i < whole_.share(dealt); ++i) {
    const std::int32_t row = truncated_rows_[static_cast<std::size_t>(whole_.dealt_as(i) - before)];
    const comm::SamplingParams& params = *inputs[static_cast<std::size_t>(row)].params;
    sampling.push_back(lists_.rows()[static_cast<std::size_t>(row)]);
    sampling.back().elsewhere = 0;
    truncation.push_back({.temperature = params.temperature,
                          .least_distance = least_distance(params.min_p),
                          .top_p = params.top_p,
                          .top_k = params.top_k});
    places.push_back(row);
  }
  StepUpload& upload = model_.step_upload();
  const auto rows = static_cast<std::int32_t>(places.size());
  truncation_ = {.logits = whole_.row(first),
                 .logits_stride = whole_.stride(),
                 .truncation = uploaded<RowTruncation>(upload, truncation),
                 .cuts = cuts_.data(),
                 .vocabulary = whole_.vocabulary(),
                 .rows = rows};
  whole_args_ = {.logits = whole_.row(first),
                 .logits_stride = whole_.stride(),
                 .sampling = uploaded<RowSampling>(upload, sampling),
                 .listed = args_.listed,
                 .sampled = nullptr,
                 .cuts = cuts_.data(),
                 .places = uploaded<std::int32_t>(upload, places),
                 .candidates = whole_candidates_.data(),
                 .winners = args_.winners,
                 .begin_token = 0,
                 .end_token = whole_.vocabulary(),
                 .rows = rows};
}

void GpuTokenChoice::launch(const GpuLogits& logits) {
  const auto raw = static_cast<std::int32_t>(logprob_rows_.size());
  for (std::size_t i = 0; i < host_rows_.size(); ++i) {  // before they are modified
    model_.download(host_rows_[i], static_cast<std::int32_t>(i));
  }
  whole_.take(logits.values, 0, raw);
  args_.logits = logits.values;
  args_.logits_stride = logits.stride;
  gpu_.modify_logits(args_);
  whole_.take(logits.values, raw, raw + static_cast<std::int32_t>(truncated_rows_.size()));
  whole_.deal();
  gpu_.choose_tokens(args_);
  gpu_.run(truncation_);
  gpu_.choose_tokens(whole_args_);
  gather_winners();
  logprobs_.launch(chosen_.data());
  const auto rows = static_cast<std::size_t>(args_.rows);
  gpu_.download({static_cast<std::byte*>(downloaded_.data()), rows * sizeof(ScoredToken)},
                chosen_.data(), kLabel);
}

void GpuTokenChoice::gather_winners() {
  const auto ranks = static_cast<std::size_t>(exchange_.size());
  if (ranks == 1) return;
  const std::vector<std::size_t> counts(ranks,
                                        static_cast<std::size_t>(args_.rows) * sizeof(ScoredToken));
  exchange_.all_gather(args_.winners, winners_.data(), counts, "best tokens");
  gpu_.run(RankWinnersArgs{.winners = winners_.data(),
                           .chosen = chosen_.data(),
                           .ranks = exchange_.size(),
                           .rows = args_.rows});
}

std::vector<comm::SampledToken> GpuTokenChoice::finish(std::span<const SamplingInput> inputs) {
  std::vector<comm::SampledToken> results(inputs.size());
  const auto* chosen = static_cast<const ScoredToken*>(downloaded_.data());
  std::vector<SamplingInput> on_host;
  for (std::int32_t row = 0; row < std::ssize(inputs); ++row) {
    const auto at = static_cast<std::size_t>(row);
    if (std::ranges::binary_search(host_rows_, row)) {
      on_host.push_back(inputs[at]);
      continue;
    }
    check_winner(chosen[at], inputs[at]);
    results[at].sequence_id = inputs[at].sequence_id;
    results[at].token_id = chosen[at].token_id;
  }
  for (std::size_t i = 0; i < logprob_rows_.size(); ++i) {
    const auto row = static_cast<std::size_t>(logprob_rows_[i]);
    logprobs_.add_to(results[row], static_cast<std::int32_t>(i), inputs[row]);
  }
  if (on_host.empty()) return results;
  const VocabRange range = model_.vocab_range();
  const auto tokens =
      sampler_.sample(model_.host_logits().first(on_host.size() *
                                                 static_cast<std::size_t>(range.end - range.begin)),
                      on_host);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    results[static_cast<std::size_t>(host_rows_[i])] = tokens[i];
  }
  return results;
}

}  // namespace lockstep::shard
