#include "shard/gpu/token_choice.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <set>

namespace lockstep::shard {
namespace {

using namespace kernels::cuda;

constexpr char kLabel[] = "choice of tokens";

bool needs_whole_row(const comm::SamplingParams& params) {
  return params.logprobs >= 0 || has_truncation(params);
}

bool forbids_stop_tokens(const SamplingInput& input) {
  return input.num_answer_tokens < input.params->min_tokens;
}

// The kernel adds a row's biases all at once.
bool biases_a_token_twice(const comm::SamplingParams& params) {
  std::set<std::int32_t> seen;
  for (const auto& [token, bias] : params.logit_bias) {
    if (!seen.insert(token).second) return true;
  }
  return false;
}

template <class T>
const T* uploaded(StepUpload& upload, const std::vector<T>& values) {
  const auto piece = upload.add<T>(std::ssize(values));
  std::ranges::copy(values, piece.host.begin());
  return piece.device;
}

template <class T>
Run end_of(const std::vector<T>& values, std::size_t begin) {
  return {static_cast<std::int32_t>(begin), static_cast<std::int32_t>(values.size())};
}

}  // namespace

std::size_t GpuTokenChoice::upload_bytes(std::int32_t max_sequences) {
  const auto listed = static_cast<std::size_t>(kListed);
  return StepUpload::whole_pieces(static_cast<std::size_t>(max_sequences) * sizeof(RowSampling)) +
         StepUpload::whole_pieces(listed * sizeof(TokenBias)) +
         StepUpload::whole_pieces(listed * sizeof(std::int32_t)) +
         StepUpload::whole_pieces(listed * sizeof(CountedToken));
}

std::size_t GpuTokenChoice::device_bytes(VocabRange range, std::int32_t max_sequences, int ranks) {
  const std::int64_t row = choice_slices(range.begin, range.end) + std::int64_t{ranks};
  return static_cast<std::size_t>(max_sequences * row) * sizeof(ScoredToken);
}

GpuTokenChoice::GpuTokenChoice(GpuLlamaRunner& model, std::int32_t max_sequences, Gpu& gpu,
                               comm::GpuExchange& exchange, Sampler& sampler)
    : model_(model),
      gpu_(gpu),
      exchange_(exchange),
      sampler_(sampler),
      max_sequences_(max_sequences),
      candidates_(gpu, kLabel,
                  std::int64_t{max_sequences} *
                      choice_slices(model.vocab_range().begin, model.vocab_range().end)),
      winners_(gpu, kLabel, std::int64_t{max_sequences} * exchange.size()),
      all_winners_(gpu.pinned_memory().allocate(
          kLabel, static_cast<std::size_t>(winners_.size()) * sizeof(ScoredToken))) {}

// Whether the row's lists have room beside those of the rows before.
bool GpuTokenChoice::fits(const SamplingInput& input) const {
  const comm::SamplingParams& params = *input.params;
  const auto room = [](std::size_t there, std::size_t more) {
    return there + more <= static_cast<std::size_t>(kListed);
  };
  return room(lists_.biases.size(), params.logit_bias.size()) &&
         room(lists_.forbidden.size(), params.stop_token_ids.size()) &&
         (input.counts == nullptr || room(lists_.counts.size(), input.counts->entries().size())) &&
         !biases_a_token_twice(params);
}

void GpuTokenChoice::list(const SamplingInput& input) {
  const comm::SamplingParams& params = *input.params;
  const std::size_t biases = lists_.biases.size(), forbidden = lists_.forbidden.size(),
                    counts = lists_.counts.size();
  for (const auto& [token, bias] : params.logit_bias) lists_.biases.push_back({token, bias});
  if (forbids_stop_tokens(input)) {
    lists_.forbidden.insert(lists_.forbidden.end(), params.stop_token_ids.begin(),
                            params.stop_token_ids.end());
  }
  if (has_penalty(params)) {
    for (const TokenCount& count : input.counts->entries()) {
      lists_.counts.push_back({count.token_id, count.in_answer});
    }
  }
  lists_.rows.push_back({.seed = params.seed,
                         .position = input.position,
                         .temperature = is_greedy(params) ? 0.0f : params.temperature,
                         .repetition_penalty = params.repetition_penalty,
                         .presence_penalty = params.presence_penalty,
                         .frequency_penalty = params.frequency_penalty,
                         .biases = end_of(lists_.biases, biases),
                         .forbidden = end_of(lists_.forbidden, forbidden),
                         .counts = end_of(lists_.counts, counts)});
}

void GpuTokenChoice::lay_out(std::span<const SamplingInput> inputs) {
  if (std::ssize(inputs) > max_sequences_) {
    throw Error("tokens to choose: " + std::to_string(inputs.size()) + ", the limit is " +
                std::to_string(max_sequences_));
  }
  lists_.rows.clear();
  lists_.biases.clear();
  lists_.forbidden.clear();
  lists_.counts.clear();
  host_rows_.clear();
  for (std::size_t row = 0; row < inputs.size(); ++row) {
    if (!needs_whole_row(*inputs[row].params) && fits(inputs[row])) {
      list(inputs[row]);
      continue;
    }
    host_rows_.push_back(row);
    lists_.rows.push_back({.seed = 0,  // a choice that nobody looks at
                           .position = 0,
                           .temperature = 0.0f,
                           .repetition_penalty = 1.0f,
                           .presence_penalty = 0.0f,
                           .frequency_penalty = 0.0f,
                           .biases = {},
                           .forbidden = {},
                           .counts = {}});
  }
  if (!host_rows_.empty() && host_rows_count_ == 0) {
    spdlog::info(
        "tokens with top_k, top_p, min_p or logprobs are chosen on the host: their logits are "
        "downloaded");
  }
  host_rows_count_ += host_rows_.size();
  const auto rows = static_cast<std::int32_t>(inputs.size());
  StepUpload& upload = model_.step_upload();
  args_ = {.logits = nullptr,
           .logits_stride = 0,
           .sampling = uploaded(upload, lists_.rows),
           .biases = uploaded(upload, lists_.biases),
           .forbidden = uploaded(upload, lists_.forbidden),
           .counts = uploaded(upload, lists_.counts),
           .candidates = candidates_.data(),
           .winners = winners_.data() + std::int64_t{exchange_.rank()} * rows,
           .begin_token = model_.vocab_range().begin,
           .end_token = model_.vocab_range().end,
           .rows = rows};
}

void GpuTokenChoice::launch(const GpuLogits& logits) {
  const auto rows = static_cast<std::size_t>(args_.rows);
  for (std::size_t i = 0; i < host_rows_.size(); ++i) {  // before they are modified
    model_.download(static_cast<std::int32_t>(host_rows_[i]), static_cast<std::int32_t>(i));
  }
  if (host_rows_.size() == rows) return;
  args_.logits = logits.values;
  args_.logits_stride = logits.stride;
  gpu_.modify_logits(args_);
  gpu_.choose_tokens(args_);
  const auto ranks = static_cast<std::size_t>(exchange_.size());
  if (ranks > 1) {
    const std::vector<std::size_t> counts(ranks, rows * sizeof(ScoredToken));
    exchange_.all_gather(args_.winners, winners_.data(), counts, "best tokens");
  }
  gpu_.download({static_cast<std::byte*>(all_winners_.data()), ranks * rows * sizeof(ScoredToken)},
                winners_.data(), kLabel);
}

std::vector<comm::SampledToken> GpuTokenChoice::finish(std::span<const SamplingInput> inputs) {
  std::vector<comm::SampledToken> results(inputs.size());
  const std::span all(static_cast<const ScoredToken*>(all_winners_.data()),
                      all_winners_.size() / sizeof(ScoredToken));
  const auto ranks = static_cast<std::size_t>(exchange_.size());
  auto next_host_row = host_rows_.begin();
  std::vector<SamplingInput> on_host;
  for (std::size_t row = 0; row < inputs.size(); ++row) {
    if (next_host_row != host_rows_.end() && *next_host_row == row) {
      on_host.push_back(inputs[row]);
      ++next_host_row;
      continue;
    }
    ScoredToken winner;
    for (std::size_t rank = 0; rank < ranks; ++rank) {
      const ScoredToken candidate = all[rank * inputs.size() + row];
      if (wins(candidate, winner)) winner = candidate;
    }
    check_winner(winner, inputs[row]);
    results[row].sequence_id = inputs[row].sequence_id;
    results[row].token_id = winner.token_id;
  }
  if (on_host.empty()) return results;
  const VocabRange range = model_.vocab_range();
  const auto chosen =
      sampler_.sample(model_.host_logits().first(on_host.size() *
                                                 static_cast<std::size_t>(range.end - range.begin)),
                      on_host);
  for (std::size_t i = 0; i < chosen.size(); ++i) results[host_rows_[i]] = chosen[i];
  return results;
}

}  // namespace lockstep::shard
