// Several tokens of a sequence with logits in one step, right guesses and wrong ones: the bits of
// what is right are those of the sequence alone, and what is wrong leaves no trace in the cache.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "tests/shard/llama_cluster.h"

namespace lockstep::shard {
namespace {

// What a step computes of a sequence: its tokens [begin, end), all with logits but in the prompt,
// then wrong guesses.
struct DraftedPiece {
  std::size_t sequence = 0;
  std::int32_t begin = 0, end = 0;
  std::int32_t num_logits = 0;
  std::vector<std::int32_t> tokens;  // those, and the wrong guesses
};

class DraftedWork {
 public:
  DraftedWork(const LlamaCase& c, Dice& dice)
      : block_size_(c.work.block_size), vocabulary_(static_cast<int>(c.config.vocab_size)) {
    for (const int prompt : {c.work.prompt, dice.between(1, 40)}) {
      auto& tokens = sequences_.emplace_back();
      for (int i = 0; i < prompt + kAnswer; ++i) tokens.push_back(dice.below(vocabulary_));
      longest_ = std::max(longest_, static_cast<std::int32_t>(tokens.size()));
      done_.push_back(0);
    }
    for (std::int32_t block = 0; block < 2 * blocks_of_each(); ++block) {
      tables_[static_cast<std::size_t>(block % 2)].push_back(block);
    }
    while (done_ != std::vector<std::int32_t>{size(0), size(1)}) make_step(dice);
  }

  // Each row alone.
  Work one_by_one() const {
    Work work{sequences_, {}, 2 * blocks_of_each()};
    for (const auto& step : steps_) {
      for (const DraftedPiece& piece : step) {
        for (std::int32_t end = piece.end - right_logits(piece) + 1; end <= piece.end; ++end) {
          std::vector<std::int32_t> blocks(static_cast<std::size_t>(blocks_of_each()));
          std::iota(blocks.begin(), blocks.end(), 0);
          work.steps.push_back({{piece.sequence, 0, end, true, true, std::move(blocks)}});
        }
      }
    }
    return work;
  }

  // The same rows of all steps.
  std::vector<LogitRow> run(const model::Model& model, const RunnerOptions& options,
                            const Cluster& cluster) const {
    RowsOfRanks rows(cluster.ranks);
    spawn_stages(
        model.config, cluster.stages, cluster.ranks,
        [&](comm::Communicator& communicator, const PipelinePlace& place) {
          kernels::ThreadPool pool({.size = cluster.threads, .spin = false});
          StepTimes times(communicator, nullptr, place.previous);
          LlamaRunner runner(model, options, communicator, pool, cluster.kernels, times, place);
          for (const auto& step : steps_) {
            rows.add(communicator.rank(), runner.forward(batch(step)), runner.vocab_range());
          }
        });
    return without_wrong_ones(rows.all());
  }

  RunnerOptions options(const LlamaCase& c, std::int32_t max_logits) const {
    return {.kv_format = c.kv_format,
            .block_size = block_size_,
            .num_blocks = 2 * blocks_of_each(),
            .max_batch_tokens = 2 * longest_ + 20,
            .max_logits = max_logits,
            .max_positions = longest_ + 10,
            .activations = c.activations ? ActivationChoice(*c.activations) : ActivationChoice()};
  }

 private:
  static constexpr int kAnswer = 14;

  std::int32_t size(std::size_t sequence) const {
    return static_cast<std::int32_t>(sequences_[sequence].size());
  }
  std::int32_t blocks_of_each() const { return (longest_ + 10 + block_size_ - 1) / block_size_; }
  static std::int32_t right_logits(const DraftedPiece& piece) {
    return piece.num_logits -
           (static_cast<std::int32_t>(piece.tokens.size()) - (piece.end - piece.begin));
  }

  void make_step(Dice& dice) {
    std::vector<DraftedPiece> step;
    for (const std::size_t s : {std::size_t{0}, std::size_t{1}}) {
      if (done_[s] == size(s) || dice.chance(20)) continue;
      const std::int32_t prompt = size(s) - kAnswer, begin = done_[s];
      const std::int32_t right =
          begin == 0 ? 1 : std::min(dice.between(1, 5), static_cast<int>(size(s) - begin));
      const std::int32_t end = begin == 0 ? prompt : begin + right;
      const std::int32_t wrong = dice.below(4);
      DraftedPiece& piece = step.emplace_back(DraftedPiece{s, begin, end, right + wrong, {}});
      piece.tokens.assign(sequences_[s].begin() + begin, sequences_[s].begin() + end);
      for (int i = 0; i < wrong; ++i) {
        const bool known = end + i < size(s);
        const std::int32_t token = known ? sequences_[s][static_cast<std::size_t>(end + i)] : 0;
        piece.tokens.push_back((token + 1 + dice.below(vocabulary_ - 1)) % vocabulary_);
      }
      done_[s] = end;
    }
    if (!step.empty()) steps_.push_back(std::move(step));
  }

  std::vector<ForwardSequence> batch(const std::vector<DraftedPiece>& step) const {
    std::vector<ForwardSequence> batch;
    for (const DraftedPiece& piece : step) {
      batch.push_back({.token_ids = piece.tokens,
                       .first_position = piece.begin,
                       .block_table = tables_[piece.sequence],
                       .num_logits = piece.num_logits});
    }
    return batch;
  }
  std::vector<LogitRow> without_wrong_ones(const std::vector<LogitRow>& rows) const {
    std::vector<LogitRow> right;
    auto next = rows.begin();
    for (const auto& step : steps_) {
      for (const DraftedPiece& piece : step) {
        right.insert(right.end(), next, next + right_logits(piece));
        next += piece.num_logits;
      }
    }
    EXPECT_EQ(next, rows.end());
    return right;
  }

  std::int32_t block_size_;
  int vocabulary_;
  std::int32_t longest_ = 0;
  std::vector<std::vector<std::int32_t>> sequences_;
  std::vector<std::int32_t> done_;
  std::vector<std::vector<DraftedPiece>> steps_;
  std::array<std::vector<std::int32_t>, 2> tables_;  // blocks in turns
};

void expect_the_bits_of_each_token_alone(const LlamaCase& c) {
  Dice dice(c.seed);
  const DraftedWork drafted(c, dice);
  const Work alone = drafted.one_by_one();
  const model::Model model = make_model(c);
  const auto& kernels =
      c.has_unit ? kernels::emulated_unit_table() : kernels::kernel_table(c.family);
  const auto expected = logits_of(model, drafted.options(c, 1), {.kernels = kernels}, alone);
  const auto rows =
      drafted.run(model, drafted.options(c, 20),
                  {.stages = c.stages, .ranks = c.ranks, .threads = c.threads, .kernels = kernels});
  expect_same_rows(rows, expected, alone);
}

TEST(LlamaDrafts, HaveTheBitsOfTokensAloneAndLeaveNoTrace) {
  int count = 0, pipelines = 0, units = 0, int8_caches = 0;
  for (std::uint32_t seed = 0; count < 40 && !testing::Test::HasFailure(); ++seed) {
    const LlamaCase c = make_case(seed);
    if (c.work.prompt > (c.has_unit ? 40 : 130)) continue;  // rows alone are many
    SCOPED_TRACE(testing::Message() << c);
    expect_the_bits_of_each_token_alone(c);
    ++count;
    pipelines += c.stages > 1;
    units += c.has_unit;
    int8_caches += c.kv_format == kernels::KvFormat::int8;
  }
  EXPECT_GT(pipelines, 4);
  EXPECT_GT(units, 2);
  EXPECT_GT(int8_caches, 10);
}

// Whose attention threads share chunk by chunk.
TEST(LlamaDrafts, HaveTheBitsOfTokensAloneInLongContexts) {
  int count = 0;
  for (std::uint32_t seed = 0; count < 5 && !testing::Test::HasFailure(); ++seed) {
    LlamaCase c = make_case(seed);
    if (c.has_unit || c.config.num_key_value_heads < 3 * c.ranks || c.stages > 1) continue;
    c.family = kernels::supported_families().back();
    c.threads = 2;
    c.work.prompt = 1015 + static_cast<int>(seed % 5);  // drafts cross the end of a chunk
    SCOPED_TRACE(testing::Message() << c);
    expect_the_bits_of_each_token_alone(c);
    ++count;
  }
}

}  // namespace
}  // namespace lockstep::shard
