// min_p, top_k and top_p: device code.
#pragma once

#include <cmath>

#include "kernels/cuda/device_function.h"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/truncation.h"
#include "kernels/ranking_key.h"
#include "kernels/token_weight.h"

namespace lockstep::kernels::cuda {

// The block's row.
template <class Thread>
class TruncatedRow {
 public:
  LOCKSTEP_DEVICE TruncatedRow(Thread& t, const TruncationArgs& args)
      : t_(t),
        logits_(args.logits + t.block_x() * args.logits_stride),
        vocabulary_(args.vocabulary),
        truncation_(t.load(args.truncation + t.block_x())),
        bins_(t.template shared<std::uint64_t>(0, kMostCutBins)),
        windows_(t.template shared<std::uint64_t>(kMostCutBins * kEntry, kCutWindows)),
        of_warps_(t.template shared<std::uint64_t>((kMostCutBins + kCutWindows) * kEntry,
                                                   t.count() / kWarp)) {}

  // The largest key that remains; 0 if no token is possible.
  LOCKSTEP_DEVICE std::uint64_t cut() {
    const std::uint64_t best = best_key();
    if (best == kNoKey) return 0;
    best_logit_ = logit_of(best);
    top_ = best_logit_ / truncation_.temperature;
    if (truncation_.least_distance > -INFINITY) cut_ = last_near_key();
    if (truncation_.top_k > 0) {
      const auto needed = static_cast<std::uint64_t>(truncation_.top_k);
      cut_ = first_reaching([](std::uint64_t) { return std::uint64_t{1}; },
                            [=](std::uint64_t) { return needed; });
    }
    if (truncation_.top_p < 1.0f) {
      cut_ = first_reaching(
          [this](std::uint64_t key) { return token_weight(distance(logit_of(key))); },
          [this](std::uint64_t total) { return weight_needed(truncation_.top_p, total); });
    }
    return cut_;
  }

 private:
  static constexpr std::uint64_t kNoKey = ~std::uint64_t{0};
  static constexpr std::uint64_t kAllIds = 0xFFFFFFFF;
  static constexpr std::int64_t kEntry = sizeof(std::uint64_t);

  LOCKSTEP_DEVICE float distance(float logit) const {
    return logit / truncation_.temperature - top_;
  }

  // Grows with the distance. Needs no exact quotient: any function of the logit that does not grow
  // with it would do.
  LOCKSTEP_DEVICE int window_of(float logit) const {
    const float windows = (best_logit_ - logit) * (1.0f / kCutWindow / truncation_.temperature);
    return windows < kCutWindows - 1 ? static_cast<int>(windows) : kCutWindows - 1;
  }

  // `visit(key)` for the possible tokens of this thread whose keys are not beyond the cut. Four
  // loads are on their way at a time.
  template <class Visit>
  LOCKSTEP_DEVICE void for_each_key(Visit visit) {
    constexpr int kAtOnce = 4;
    for (std::int32_t first = t_.index(); first < vocabulary_; first += kAtOnce * t_.count()) {
      float logits[kAtOnce];
      for (int i = 0; i < kAtOnce; ++i) {
        const std::int32_t token = first + i * t_.count();
        logits[i] = token < vocabulary_ ? t_.load(logits_ + token) : -INFINITY;
      }
      for (int i = 0; i < kAtOnce; ++i) {
        if (!(logits[i] > -INFINITY)) continue;
        const std::uint64_t key = ranking_key(logits[i], first + i * t_.count());
        if (key <= cut_) visit(key);
      }
    }
  }

  // The smallest key of all; kNoKey where there is none.
  LOCKSTEP_DEVICE std::uint64_t best_key() {
    std::uint64_t best = kNoKey;
    for_each_key([&](std::uint64_t key) { best = key < best ? key : best; });
    return block_min(t_, best, of_warps_);
  }

  // With any id: equal logits are equally near.
  LOCKSTEP_DEVICE std::uint64_t last_near_key() {
    t_.sync();  // of_warps_ is read
    std::uint64_t last = 0;
    for_each_key([&](std::uint64_t key) {
      if (key > last && distance(logit_of(key)) >= truncation_.least_distance) last = key;
    });
    return ~block_min(t_, ~last, of_warps_) | kAllIds;
  }

  // The key at which the sum of measure(key), in the order of keys up to the cut, first reaches
  // needed_of(the sum of all of them); the cut where it does not. Digit by digit, a bin holds the
  // measure of the keys of the window that have its digit after the `known` ones.
  template <class Measure, class Needed>
  LOCKSTEP_DEVICE std::uint64_t first_reaching(Measure measure, Needed needed_of) {
    sum_windows(measure);
    std::uint64_t total = 0;
    for (int i = 0; i < kCutWindows; ++i) total += windows_[i];
    std::uint64_t known = 0, needed = needed_of(total), before = 0;
    if (total == 0 || total < needed) return cut_;
    window_ = 0;
    for (; before + windows_[window_] < needed; ++window_) before += windows_[window_];
    for (int i = 0; i < kCutDigits; ++i) {
      const CutDigit digit = cut_digit(i);
      if (i < kLogitDigits) {
        fill_bins(digit, known, measure);
      } else {  // equal logits, whose measures are equal, are counted
        fill_bins(digit, known, [](std::uint64_t) { return std::uint64_t{1}; });
      }
      const std::int32_t bin = bin_that_reaches(needed, before);
      known |= static_cast<std::uint64_t>(bin) << digit.shift;
      if (i + 1 == kLogitDigits) {
        const std::uint64_t each = measure(known);
        needed = (needed - before + each - 1) / each;
        before = 0;
        if (needed == bins_[bin] / each) return known | kAllIds;
      }
    }
    return known;
  }

  // In registers, for most of the row's tokens would meet in one window; then every lane has sums
  // of its own, so that threads of a warp do not meet.
  template <class Measure>
  LOCKSTEP_DEVICE void sum_windows(Measure measure) {
    std::uint64_t sums[kCutWindows] = {};
    for_each_key([&](std::uint64_t key) {
      const int window = window_of(logit_of(key));
      const std::uint64_t value = measure(key);
      for (int i = 0; i < kCutWindows; ++i) sums[i] += i == window ? value : 0;
    });
    t_.sync();  // bins and windows are read
    for (int i = t_.index(); i < kCutWindows * kWarp; i += t_.count()) bins_[i] = 0;
    t_.sync();
    for (int i = 0; i < kCutWindows; ++i) t_.add_shared(bins_ + i * kWarp + t_.lane(), sums[i]);
    t_.sync();
    if (t_.warp() < kCutWindows) {
      const std::uint64_t sum = warp_sum(t_, bins_[t_.index()]);
      if (t_.lane() == 0) windows_[t_.warp()] = sum;
    }
    t_.sync();
  }

  template <class Measure>
  LOCKSTEP_DEVICE void fill_bins(CutDigit digit, std::uint64_t known, Measure measure) {
    t_.sync();  // they are read
    for (std::int32_t i = t_.index(); i < kMostCutBins; i += t_.count()) bins_[i] = 0;
    t_.sync();
    const int seen = digit.shift + digit.bits;
    const std::uint64_t mask = (std::uint64_t{1} << digit.bits) - 1;
    for_each_key([&](std::uint64_t key) {
      if (window_of(logit_of(key)) != window_) return;
      if (seen < 64 && key >> seen != known >> seen) return;
      t_.add_shared(bins_ + (key >> digit.shift & mask), measure(key));
    });
    t_.sync();
    std::uint64_t sum = 0;
    for (std::int32_t i = t_.lane(); i < bins_of_warp(); i += kWarp) {
      sum += bins_[t_.warp() * bins_of_warp() + i];
    }
    sum = warp_sum(t_, sum);
    if (t_.lane() == 0) of_warps_[t_.warp()] = sum;
    t_.sync();
  }

  LOCKSTEP_DEVICE std::int32_t bins_of_warp() const { return kMostCutBins / (t_.count() / kWarp); }

  // The first bin with which `before` and the bins up to it reach `needed`; those before it are
  // added to `before`. REQUIRES: all of them reach it. The same in every thread.
  LOCKSTEP_DEVICE std::int32_t bin_that_reaches(std::uint64_t needed, std::uint64_t& before) const {
    std::int32_t warp = 0;
    for (; before + of_warps_[warp] < needed; ++warp) before += of_warps_[warp];
    std::int32_t bin = warp * bins_of_warp();
    for (; before + bins_[bin] < needed; ++bin) before += bins_[bin];
    return bin;
  }

  Thread& t_;
  const float* const logits_;
  const std::int32_t vocabulary_;
  const RowTruncation truncation_;
  std::uint64_t* const bins_;      // [kMostCutBins]
  std::uint64_t* const windows_;   // [kCutWindows]
  std::uint64_t* const of_warps_;  // one a warp
  float best_logit_ = 0;
  float top_ = 0;  // best_logit_ / temperature
  std::uint64_t cut_ = kNoKey;
  int window_ = 0;  // that the search ends in
};

// A block a row.
template <class Thread>
LOCKSTEP_DEVICE void truncate_rows(Thread& t, const TruncationArgs& args) {
  const std::uint64_t cut = TruncatedRow<Thread>(t, args).cut();
  if (t.index() == 0) t.store(args.cuts + t.block_x(), cut);
}

}  // namespace lockstep::kernels::cuda
