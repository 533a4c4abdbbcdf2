#include "shard/gpu/token_choice.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>

#include "base/error.h"
#include "shard/logprobs.h"
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

constexpr RowTruncation kNoTruncation{.temperature = 1.0f,
                                      .least_distance = -std::numeric_limits<float>::infinity(),
                                      .top_p = 1.0f,
                                      .top_k = 0};

RowTruncation truncation_of(const comm::SamplingParams& params) {
  if (!has_truncation(params)) return kNoTruncation;
  return {.temperature = params.temperature,
          .least_distance = least_distance(params.min_p),
          .top_p = params.top_p,
          .top_k = params.top_k};
}

// A row may be dealt twice: raw and modified.
std::int32_t most_dealt(const GpuChoiceOptions& options) { return 2 * options.max_sequences; }

// In recordings, the best tokens of a row with logprobs: a few numbers of them, so that there are
// few recordings. Each one that nobody asked for is one more pass over the vocabulary's slices.
std::int32_t recorded_best(std::int32_t best) {
  for (const std::int32_t enough : {0, 1, 5}) {
    if (best <= enough) return enough;
  }
  return kMostLogprobs;
}

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

GpuTokenChoice::Sizes GpuTokenChoice::sizes(const GpuChoiceOptions& options,
                                            std::span<const VocabRange> ranges, int rank) {
  const VocabRange mine = ranges[static_cast<std::size_t>(rank)];
  const auto ranks = static_cast<int>(ranges.size());
  const std::int64_t rows = options.max_sequences;
  const std::int64_t truncated = most_truncated(options, ranks);
  return {.candidates = rows * choice_slices(mine.begin, mine.end),
          .whole_candidates = truncated * choice_slices(0, ranges.back().end),
          .winners = ranks > 1 ? rows * ranks : 0,
          .cuts = truncated};
}

std::size_t GpuTokenChoice::device_bytes(const GpuChoiceOptions& options,
                                         std::span<const VocabRange> ranges, int rank,
                                         const comm::ExchangeMemory& exchange) {
  const Sizes elements = sizes(options, ranges, rank);
  const auto ranks = static_cast<int>(ranges.size());
  return GpuWholeRows::device_bytes(ranges, rank, most_dealt(options)) +
         LogprobRows::device_bytes(options.max_sequences, ranks, ranges.back().end) +
         exchange.gather_bytes(elements.winner_bytes(), ranks) +
         static_cast<std::size_t>(elements.candidates + elements.whole_candidates) *
             sizeof(ScoredToken) +
         static_cast<std::size_t>(elements.cuts) * sizeof(std::uint64_t);
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
      lists_(options_.most_listed) {
  const Sizes elements = sizes(options_, model.vocab_ranges(), exchange.rank());
  candidates_ = GpuArray<ScoredToken>(gpu, kLabel, elements.candidates);
  whole_candidates_ = GpuArray<ScoredToken>(gpu, kLabel, elements.whole_candidates);
  winners_ = GpuArray<ScoredToken>(exchange.gather_memory(kLabel, elements.winner_bytes()));
  cuts_ = GpuArray<std::uint64_t>(gpu, kLabel, elements.cuts);
  for (Step& step : steps_) {
    step.chosen = gpu.pinned_memory().allocate(
        kLabel, static_cast<std::size_t>(options_.max_sequences) * sizeof(ScoredToken));
    step.downloaded = gpu.make_mark();
  }
}

void GpuTokenChoice::begin(std::span<const SamplingInput> inputs) {
  if (std::ssize(inputs) > options_.max_sequences) {
    throw Error("tokens to choose: " + std::to_string(inputs.size()) + ", the limit is " +
                std::to_string(options_.max_sequences));
  }
  turn_ = 1 - turn_;
  ++num_begun_;
  sort_out(inputs);
  const Step& step = steps_[turn_];
  const std::int32_t rows = model_.logit_rows();
  StepUpload& upload = model_.step_upload();
  // The lists go last: of all pieces theirs alone has not a size of the rows' number.
  args_ = {.logits = nullptr,
           .logits_stride = 0,
           .sampling = uploaded(upload, lists_.rows()),
           .listed = nullptr,
           .sampled = model_.sampled(),
           .cuts = nullptr,
           .places = nullptr,
           .candidates = candidates_.data(),
           .winners = exchange_.size() > 1 ? winners_.data() + std::int64_t{exchange_.rank()} * rows
                                           : model_.sampled(),
           .begin_token = model_.vocab_range().begin,
           .end_token = model_.vocab_range().end,
           .rows = rows};
  std::vector<std::int32_t> dealt = step.logprob_rows;
  dealt.insert(dealt.end(), whole_choice_rows_.begin(), whole_choice_rows_.end());
  whole_.lay_out(dealt, model_.logits_stride(), upload);
  logprobs_.lay_out(step.logprob_rows, best_, turn_, upload);
  lay_out_whole_choice(inputs, static_cast<std::int32_t>(step.logprob_rows.size()));
  args_.listed = uploaded(upload, lists_.listed());
}

// Which way each row goes.
void GpuTokenChoice::sort_out(std::span<const SamplingInput> inputs) {
  Step& step = steps_[turn_];
  step.rows.clear();
  step.host_rows.clear();
  step.on_host.clear();
  step.logprob_rows.clear();
  whole_choice_rows_.clear();
  lists_.clear();
  best_ = 0;
  for (std::int32_t row = 0; row < std::ssize(inputs); ++row) {
    const SamplingInput& input = inputs[static_cast<std::size_t>(row)];
    step.rows.push_back({input.sequence_id, input.position, input.params->logprobs});
    if (!lists_.add(input)) {
      step.host_rows.push_back(row);
      step.on_host.push_back(input);
      continue;
    }
    if (has_truncation(*input.params)) whole_choice_rows_.push_back(row);
    if (input.params->logprobs < 0) continue;
    step.logprob_rows.push_back(row);
    best_ = std::max(best_, input.params->logprobs);
  }
  for (auto row = std::ssize(inputs); row < model_.logit_rows(); ++row) lists_.add_none();
  settle_tail();
  for (const std::int32_t row : whole_choice_rows_) lists_.choose_elsewhere(row);
  if (step.host_rows.empty() || has_warned_) return;
  has_warned_ = true;
  spdlog::warn(
      "biases, stop tokens and penalties of a step take more than {} entries: the tokens of some "
      "rows are chosen on the host (lockstep_gpu_rows_chosen_on_host_total)",
      options_.most_listed);
}

// A recording holds whole rows of a kind only if it is all of them. What is put in line, and where
// it lies in the upload, then follows from the number of rows, the kinds, and best_.
void GpuTokenChoice::settle_tail() {
  Step& step = steps_[turn_];
  tail_ = 0;
  if (!step.host_rows.empty() || !model_.may_be_recorded()) return;
  const bool modified = are_most(whole_choice_rows_), raw = are_most(step.logprob_rows);
  if ((!modified && !whole_choice_rows_.empty()) || (!raw && !step.logprob_rows.empty())) return;
  const auto all = [this](std::vector<std::int32_t>& rows) {
    rows.resize(static_cast<std::size_t>(model_.logit_rows()));
    std::iota(rows.begin(), rows.end(), 0);
  };
  if (modified) all(whole_choice_rows_);
  if (raw) all(step.logprob_rows);
  if (raw) best_ = recorded_best(best_);
  tail_ = 1 + (modified ? 1 : 0) + (raw ? 2 * (1 + best_) : 0);
}

// Whether it is worth the others' way to take all rows.
bool GpuTokenChoice::are_most(const std::vector<std::int32_t>& rows) const {
  return 2 * rows.size() > steps_[turn_].rows.size();
}

// What this rank needs to choose the tokens of its whole rows. `before`: rows that are dealt before
// the modified ones.
void GpuTokenChoice::lay_out_whole_choice(std::span<const SamplingInput> inputs,
                                          std::int32_t before) {
  const auto dealt = before + static_cast<std::int32_t>(whole_choice_rows_.size());
  const std::int32_t first = whole_.share(before);
  std::vector<RowSampling> sampling;
  std::vector<RowTruncation> truncation;
  std::vector<std::int32_t> places;
  for (std::int32_t i = first; i < whole_.share(dealt); ++i) {
    const std::int32_t row =
        whole_choice_rows_[static_cast<std::size_t>(whole_.dealt_as(i) - before)];
    sampling.push_back(lists_.rows()[static_cast<std::size_t>(row)]);
    sampling.back().elsewhere = 0;
    truncation.push_back(row < std::ssize(inputs)
                             ? truncation_of(*inputs[static_cast<std::size_t>(row)].params)
                             : kNoTruncation);
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
                 .listed = nullptr,  // they are modified
                 .sampled = args_.sampled,
                 .cuts = cuts_.data(),
                 .places = uploaded<std::int32_t>(upload, places),
                 .candidates = whole_candidates_.data(),
                 .winners = args_.winners,
                 .begin_token = 0,
                 .end_token = whole_.vocabulary(),
                 .rows = rows};
}

GpuStepTail GpuTokenChoice::tail() {
  return {.put_in_line = [this](const GpuLogits& logits) { launch(logits); },
          .recordable_as = tail_};
}

void GpuTokenChoice::launch(const GpuLogits& logits) {
  const Step& step = steps_[turn_];
  const auto raw = static_cast<std::int32_t>(step.logprob_rows.size());
  for (std::size_t i = 0; i < step.host_rows.size(); ++i) {  // before they are modified
    model_.download(step.host_rows[i], static_cast<std::int32_t>(i));
  }
  whole_.take(logits.values, 0, raw);
  args_.logits = logits.values;
  args_.logits_stride = logits.stride;
  gpu_.modify_logits(args_);
  whole_.take(logits.values, raw, raw + static_cast<std::int32_t>(whole_choice_rows_.size()));
  whole_.deal();
  gpu_.choose_tokens(args_);
  gpu_.run(truncation_);
  gpu_.choose_tokens(whole_args_);
  gather_winners();
  logprobs_.launch(model_.sampled());
}

void GpuTokenChoice::gather_winners() {
  const auto ranks = static_cast<std::size_t>(exchange_.size());
  if (ranks == 1) return;
  const std::vector<std::size_t> counts(ranks,
                                        static_cast<std::size_t>(args_.rows) * sizeof(ScoredToken));
  exchange_.all_gather(args_.winners, winners_.data(), counts, "best tokens");
  gpu_.run(RankWinnersArgs{.winners = winners_.data(),
                           .chosen = model_.sampled(),
                           .ranks = exchange_.size(),
                           .rows = args_.rows});
}

void GpuTokenChoice::download() {
  Step& step = steps_[turn_];
  logprobs_.download();
  gpu_.download(
      {static_cast<std::byte*>(step.chosen.data()), step.rows.size() * sizeof(ScoredToken)},
      model_.sampled(), kLabel);
  step.downloaded->set();
}

StepResult GpuTokenChoice::finish() {
  const Step& step = oldest();
  const std::size_t turn = num_begun_ == 2 ? 1 - turn_ : turn_;
  --num_begun_;
  StepResult result;
  result.sampled.resize(step.rows.size());
  result.rows_on_host = static_cast<std::uint32_t>(step.host_rows.size());
  const auto* chosen = static_cast<const ScoredToken*>(step.chosen.data());
  const auto input_of = [&](std::size_t row) {
    return SamplingInput{.sequence_id = step.rows[row].sequence_id,
                         .position = step.rows[row].position};
  };
  for (std::size_t row = 0; row < step.rows.size(); ++row) {
    if (std::ranges::binary_search(step.host_rows, static_cast<std::int32_t>(row))) continue;
    check_winner(chosen[row], input_of(row));
    result.sampled[row].sequence_id = step.rows[row].sequence_id;
    result.sampled[row].token_id = chosen[row].token_id;
  }
  for (std::size_t i = 0; i < step.logprob_rows.size(); ++i) {
    const auto row = static_cast<std::size_t>(step.logprob_rows[i]);
    if (row >= step.rows.size() || step.rows[row].logprobs < 0) continue;
    logprobs_.add_to(result.sampled[row], turn, static_cast<std::int32_t>(i),
                     step.rows[row].logprobs, input_of(row));
  }
  if (!step.on_host.empty()) choose_on_host(step, result.sampled);
  return result;
}

void GpuTokenChoice::choose_on_host(const Step& step, std::span<comm::SampledToken> results) {
  const VocabRange range = model_.vocab_range();
  const auto logits = model_.host_logits().first(step.on_host.size() *
                                                 static_cast<std::size_t>(range.end - range.begin));
  const auto tokens = sampler_.sample(logits, step.on_host);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    results[static_cast<std::size_t>(step.host_rows[i])] = tokens[i];
  }
}

}  // namespace lockstep::shard
