// Random work for a forward pass: sequences cut into pieces, and these put into steps, as a
// scheduler might do.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <numeric>
#include <ostream>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "shard/model_runner.h"

namespace lockstep::shard {

// Random numbers that are the same everywhere.
class Dice {
 public:
  explicit Dice(std::uint32_t seed) : random_(seed) {}

  // 0 ... n - 1.
  int below(int n) { return static_cast<int>(random_() % static_cast<std::uint32_t>(n)); }
  int between(int least, int most) { return least + below(most - least + 1); }
  bool chance(int percent) { return below(100) < percent; }
  template <class T>
  T one_of(std::initializer_list<T> values) {
    return values.begin()[below(static_cast<int>(values.size()))];
  }

 private:
  std::mt19937 random_;
};

enum class Cuts { none, few, at_edges, small };
enum class Company { none, others, same_prefix };

struct WorkOptions {
  int prompt = 1;                       // tokens of the sequence that it is about
  int decoding = 0;                     // tokens behind them, one a step
  bool all_logits_of_decoding = false;  // or of some steps
  Cuts cuts = Cuts::none;
  Company company = Company::none;
  int block_size = 16;
  int vocabulary = 1;
  int company_prompt = 80;  // tokens at most
};

inline std::ostream& operator<<(std::ostream& out, const WorkOptions& work) {
  return out << "prompt " << work.prompt << ", then " << work.decoding << " steps, cuts "
             << static_cast<int>(work.cuts) << ", company " << static_cast<int>(work.company)
             << ", blocks of " << work.block_size;
}

// Tokens [begin, end) of a sequence in a step.
struct Piece {
  std::size_t sequence = 0;
  int begin = 0, end = 0;
  bool wants_logits = false;
  bool is_compared = false;  // has logits of which it is known what they must be
  std::vector<std::int32_t> blocks = {};
};

struct Work {
  std::vector<std::vector<std::int32_t>> sequences;
  std::vector<std::vector<Piece>> steps;
  std::int32_t num_blocks = 0;

  std::vector<ForwardSequence> batch(const std::vector<Piece>& step) const {
    std::vector<ForwardSequence> batch;
    for (const Piece& piece : step) {
      batch.push_back({std::span(sequences[piece.sequence])
                           .subspan(static_cast<std::size_t>(piece.begin),
                                    static_cast<std::size_t>(piece.end - piece.begin)),
                       piece.begin, piece.blocks, piece.wants_logits});
    }
    return batch;
  }
  int most_rows() const {
    int most = 0;
    for (const auto& step : steps) {
      int rows = 0;
      for (const Piece& piece : step) rows += piece.end - piece.begin;
      most = std::max(most, rows);
    }
    return most;
  }
  int longest() const {
    std::size_t most = 0;
    for (const auto& tokens : sequences) most = std::max(most, tokens.size());
    return static_cast<int>(most);
  }
  // The pieces with logits, in order.
  std::vector<Piece> wanted() const { return those(&Piece::wants_logits); }
  // Those of them that are compared.
  std::vector<Piece> compared() const { return those(&Piece::is_compared); }
  // What gives the logits of the pieces that are compared, in the same order: each sequence whole
  // and alone, in blocks one after the other.
  Work one_by_one() const {
    Work work{sequences, {}, num_blocks};
    for (Piece piece : compared()) {
      piece.begin = 0;
      std::iota(piece.blocks.begin(), piece.blocks.end(), 0);
      work.steps.push_back({std::move(piece)});
    }
    return work;
  }

 private:
  std::vector<Piece> those(bool Piece::*property) const {
    std::vector<Piece> pieces;
    for (const auto& step : steps) {
      std::ranges::copy_if(step, std::back_inserter(pieces), property);
    }
    return pieces;
  }
};

// Makes Work: the first sequence is as the options say, the company is shorter. Blocks are given
// out at random, also those of sequences that have ended.
class WorkMaker {
 public:
  WorkMaker(Dice& dice, const WorkOptions& options) : dice_(dice), options_(options) {}

  Work make() {
    add_main();
    const int others = options_.company == Company::none ? 0 : dice_.between(1, 4);
    for (int i = 0; i < others; ++i) add_company(i == 0);
    for (const auto& tokens : work_.sequences) work_.num_blocks += blocks_of(std::ssize(tokens));
    free_.resize(static_cast<std::size_t>(work_.num_blocks));
    std::iota(free_.begin(), free_.end(), 0);
    while (std::ranges::any_of(plans_, [](const Plan& plan) { return !plan.ends.empty(); })) {
      make_step();
    }
    return std::move(work_);
  }

 private:
  struct Plan {
    int done = 0;           // tokens
    std::vector<int> ends;  // of the pieces that are left, the next one last
    int prompt = 0;         // tokens
    int shared_blocks = 0;  // of the first sequence, with its first tokens
    std::vector<std::int32_t> blocks = {};
  };

  std::int32_t blocks_of(std::int64_t tokens) const {
    return static_cast<std::int32_t>((tokens + options_.block_size - 1) / options_.block_size);
  }

  void add_main() { add(random_tokens(options_.prompt + options_.decoding), 0, options_.prompt); }

  void add_company(bool first) {
    const int most_shared = options_.prompt / options_.block_size;
    if (first && options_.company == Company::same_prefix && most_shared > 0) {
      const int shared = dice_.between(1, most_shared);
      auto tokens = work_.sequences[0];
      tokens.resize(static_cast<std::size_t>(shared * options_.block_size));
      const auto own = random_tokens(dice_.between(1, options_.company_prompt / 2));
      tokens.insert(tokens.end(), own.begin(), own.end());
      const auto prompt = static_cast<int>(tokens.size()) - dice_.below(std::ssize(own));
      add(std::move(tokens), shared, prompt);
      return;
    }
    const int prompt = dice_.between(1, options_.company_prompt);
    add(random_tokens(prompt + dice_.below(5)), 0, prompt);
  }

  std::vector<std::int32_t> random_tokens(int count) {
    std::vector<std::int32_t> tokens;
    for (int i = 0; i < count; ++i) tokens.push_back(dice_.below(options_.vocabulary));
    return tokens;
  }

  // A sequence that begins behind its shared blocks, whose prompt ends at `prompt`.
  void add(std::vector<std::int32_t> tokens, int shared_blocks, int prompt) {
    Plan& plan = plans_.emplace_back();
    plan.prompt = prompt;
    plan.shared_blocks = shared_blocks;
    plan.done = shared_blocks * options_.block_size;
    plan.ends = cut(plan.done, prompt);
    for (int end = prompt + 1; end <= std::ssize(tokens); ++end) plan.ends.push_back(end);
    std::ranges::reverse(plan.ends);
    work_.sequences.push_back(std::move(tokens));
  }

  // The ends of the pieces of [begin, end).
  std::vector<int> cut(int begin, int end) {
    std::vector<int> ends{end};
    const auto add_cut = [&](int at) {
      if (begin < at && at < end) ends.push_back(at);
    };
    if (options_.cuts == Cuts::few) {
      for (int i = dice_.between(1, 4); i > 0; --i) add_cut(begin + dice_.below(end - begin));
    } else if (options_.cuts == Cuts::at_edges) {
      const int edge = dice_.one_of({16, 32, 64, 256, 512});
      for (int i = dice_.between(1, 4); i > 0; --i) {
        add_cut(edge * dice_.between(1, end / edge + 1) + dice_.between(-1, 1));
      }
    } else if (options_.cuts == Cuts::small) {
      for (int at = std::max(begin, end - 100); at < end; at += dice_.between(1, 12)) add_cut(at);
    }
    std::ranges::sort(ends);
    const auto same = std::ranges::unique(ends);
    ends.erase(same.begin(), same.end());
    return ends;
  }

  // Some of the sequences that can go on, in random order.
  void make_step() {
    std::vector<Piece> step;
    std::vector<std::size_t> order(plans_.size());
    std::iota(order.begin(), order.end(), 0);
    for (std::size_t i = order.size(); i > 1; --i) {
      std::swap(order[i - 1], order[static_cast<std::size_t>(dice_.below(static_cast<int>(i)))]);
    }
    std::vector<std::size_t> ended;
    for (const std::size_t s : order) {
      Plan& plan = plans_[s];
      if (plan.ends.empty() || dice_.chance(30)) continue;
      const int end = plan.ends.back();
      // What is shared must have been computed, in an earlier step.
      if (plan.blocks.empty() && plan.shared_blocks > 0) {
        if (computed_of_first_ < plan.shared_blocks * options_.block_size) continue;
      }
      step.push_back(next_piece(s, end));
      if (plan.ends.empty()) ended.push_back(s);
    }
    if (step.empty()) return;
    computed_of_first_ = plans_[0].done;
    for (const std::size_t s : ended) give_back(s);
    work_.steps.push_back(std::move(step));
  }

  Piece next_piece(std::size_t s, int end) {
    Plan& plan = plans_[s];
    if (plan.blocks.empty()) {
      plan.blocks.assign(plans_[0].blocks.begin(), plans_[0].blocks.begin() + plan.shared_blocks);
    }
    while (std::ssize(plan.blocks) < blocks_of(end)) {
      std::swap(free_.back(),
                free_[static_cast<std::size_t>(dice_.below(static_cast<int>(free_.size())))]);
      plan.blocks.push_back(free_.back());
      free_.pop_back();
    }
    plan.ends.pop_back();
    const bool is_compared = plan.ends.empty() || dice_.chance(15);
    const bool decodes = options_.all_logits_of_decoding && end > plan.prompt;
    return {s,          std::exchange(plan.done, end), end, is_compared || decodes, is_compared,
            plan.blocks};
  }

  void give_back(std::size_t s) {
    const bool shares = std::ranges::any_of(plans_, [](const Plan& p) { return p.shared_blocks; });
    if (shares && s == 0) return;
    const Plan& plan = plans_[s];
    free_.insert(free_.end(), plan.blocks.begin() + plan.shared_blocks, plan.blocks.end());
  }

  Dice& dice_;
  const WorkOptions options_;
  Work work_;
  std::vector<Plan> plans_;
  std::vector<std::int32_t> free_;
  int computed_of_first_ = 0;  // tokens, in steps that are done
};

inline Work make_work(Dice& dice, const WorkOptions& options) {
  return WorkMaker(dice, options).make();
}

}  // namespace lockstep::shard
