// What the fixed order of sums costs: the row-parallel products and their all-reduces of one step
// in the model's own order, and in the freest one, where every rank sums all it has and ranks
// exchange one sum each. That order changes with the number of ranks, which is why Lockstep does
// not use it.
//
//   bench_fixed_order MODEL
//
// Prints JSON: for 1 and 2 ranks of one thread and several numbers of rows, the best microseconds
// in either order, and those of a whole step.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/cpu_family.h"
#include "kernels/flush_denormals.h"
#include "kernels/thread_affinity.h"
#include "model/model.h"
#include "shard/activations.h"
#include "shard/lane_programs.h"
#include "shard/lane_reduce.h"
#include "shard/llama.h"

namespace {

using namespace lockstep;
using Clock = std::chrono::steady_clock;

constexpr std::int32_t kContext = 192;
constexpr std::int32_t kMostRows = 512;
constexpr auto kTime = std::chrono::milliseconds(4000);  // of one comparison

// Lanes of all ranks, and what this one's products do with them.
struct Sums {
  shard::LaneReducer reducer;
  kernels::LaneProgram program;
};

// The best round: the others were interrupted by something.
double best_us(const std::vector<double>& values) { return *std::ranges::min_element(values); }

// The one that a rank runs on.
kernels::CpuSet core(int rank) {
  const kernels::CpuSet allowed = kernels::allowed_cpus();
  std::size_t cpu = 0;
  for (int before = -1; cpu + 1 < allowed.size(); ++cpu) {
    if (allowed[cpu] && ++before == rank) break;
  }
  return kernels::CpuSet().set(cpu);
}

class OrderBench {
 public:
  OrderBench(const model::Model& model, comm::Communicator& communicator)
      : config_(model.config),
        communicator_(communicator),
        parts_(shard::partition_model(config_, communicator.size())),
        weights_(shard::load_weights(model, part(), pool_, {{}, kernels_.bf16_layout})),
        attended_(kMostRows, weights_.layers[0].o.columns()),
        inner_(kMostRows, weights_.layers[0].down.columns()),
        times_(communicator),
        runner_(model,
                {.num_blocks = 64 * (kContext + 16) / 16,
                 .max_batch_tokens = kMostRows,
                 .max_positions = 2 * kMostRows},
                communicator, pool_, kernels_, times_) {
    fill(attended_, weights_.layers[0].o);
    fill(inner_, weights_.layers[0].down);
  }

  void run(std::int32_t rows, bool is_first) {
    const shard::LaneTrees trees = shard::lane_trees(config_);
    const shard::LaneTree free_tree(
        std::vector<std::int32_t>(static_cast<std::size_t>(communicator_.size() - 1)));
    const auto heads = shard::lane_runs(parts_, &shard::Partition::query_heads);
    const auto lanes = shard::lane_runs(parts_, &shard::Partition::mlp_lanes);
    std::vector<shard::Range> whole;
    for (std::int32_t r = 0; r < communicator_.size(); ++r) whole.push_back({r, r + 1});
    Sums fixed[] = {{reducer(trees.attention, heads), shard::attention_program(config_, part())},
                    {reducer(trees.mlp, lanes), shard::mlp_program(config_, part())}};
    Sums free[] = {{reducer(free_tree, whole), kernels::whole_sum(attended_.columns())},
                   {reducer(free_tree, whole), kernels::whole_sum(inner_.columns())}};
    std::vector<double> fixed_us, free_us, step_us;
    // All ranks go through the same rounds: rank 0's clock says when it is enough.
    for (int round = 0, rounds = 5; round < rounds; ++round) {
      const auto begin = Clock::now();
      // A whole step between them, as in life: it leaves the same in the caches to both.
      step_us.push_back(step(rows));
      fixed_us.push_back(sums(rows, fixed));
      step_us.push_back(step(rows));
      free_us.push_back(sums(rows, free));
      if (round == 4) rounds = agreed(static_cast<int>(kTime / (Clock::now() - begin)));
    }
    if (communicator_.rank() != 0) return;
    std::printf(
        "%s{\"ranks\": %d, \"rows\": %d, \"fixed_us\": %.1f, \"free_us\": %.1f, "
        "\"step_us\": %.1f}",
        is_first ? "[\n" : ",\n", communicator_.size(), rows, best_us(fixed_us), best_us(free_us),
        best_us(step_us));
  }

 private:
  const shard::Partition& part() const {
    return parts_[static_cast<std::size_t>(communicator_.rank())];
  }

  shard::LaneReducer reducer(const shard::LaneTree& tree, std::span<const shard::Range> runs) {
    return {tree, runs, communicator_, pool_, kernels_, kMostRows * config_.hidden_size};
  }

  void fill(shard::Activations& x, const kernels::PackedMatrix& weights) {
    std::mt19937 random(1);
    for (std::int64_t i = 0; i < kMostRows * x.columns(); ++i) {
      x.row(0)[i] = static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 500;
    }
    x.round(kernels_, compute_.rounded_forms({&weights}), 0, kMostRows);
  }

  int agreed(int rounds) {
    std::vector<int> all(static_cast<std::size_t>(communicator_.size()));
    communicator_.all_gather(std::as_bytes(std::span(&rounds, 1)),
                             std::as_writable_bytes(std::span(all)),
                             std::vector<std::size_t>(all.size(), sizeof rounds), "rounds");
    return std::max(all[0], 5);
  }

  template <class Work>
  double timed(const Work& work) {
    communicator_.barrier("begin");
    const auto begin = Clock::now();
    work();
    communicator_.barrier("end");
    return std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
  }

  double sums(std::int32_t rows, Sums (&both)[2]) {
    const std::int64_t values = rows * config_.hidden_size;
    return timed([&] {
      for (const shard::LayerWeights& layer : weights_.layers) {
        const shard::Product o[] = {
            {&layer.o, both[0].reducer.segments(values), config_.hidden_size, values}};
        shard::multiply(compute_, attended_, rows, both[0].program, o);
        read(both[0].reducer.reduce(values, "o"), rows);
        const shard::Product down[] = {
            {&layer.down, both[1].reducer.segments(values), config_.hidden_size, values}};
        shard::multiply(compute_, inner_, rows, both[1].program, down);
        read(both[1].reducer.reduce(values, "down"), rows);
      }
    });
  }

  // As the norm that follows does.
  void read(const shard::ReducedSum& sum, std::int32_t rows) {
    for (std::int64_t row = 0; row < rows; ++row) {
      sum.piece(row * config_.hidden_size, config_.hidden_size, scratch_.data());
    }
  }

  // `rows` sequences that decode, or one that is prefilled.
  double step(std::int32_t rows) {
    const bool prefill = rows > 64;
    std::vector<std::int32_t> tokens(static_cast<std::size_t>(rows), 1);
    std::vector<std::vector<std::int32_t>> tables;
    std::vector<shard::ForwardSequence> batch;
    for (std::int32_t s = 0; s < (prefill ? 1 : rows); ++s) {
      const std::int32_t blocks = prefill ? rows / 16 : (kContext + 16) / 16;
      tables.emplace_back(static_cast<std::size_t>(blocks));
      std::iota(tables.back().begin(), tables.back().end(), s * blocks);
    }
    for (std::size_t s = 0; s < tables.size(); ++s) {
      batch.push_back({.token_ids = std::span(tokens).subspan(s, prefill ? tokens.size() : 1),
                       .first_position = prefill ? 0 : kContext,
                       .block_table = tables[s],
                       .num_logits = 1});
    }
    return timed([&] { runner_.forward(batch); });
  }

  const model::ModelConfig& config_;
  comm::Communicator& communicator_;
  const kernels::cpu::KernelTable& kernels_ = kernels::kernel_table(kernels::select_family("auto"));
  kernels::ThreadPool pool_{1};
  const shard::Compute compute_{&pool_, &kernels_, {}};
  const std::vector<shard::Partition> parts_;
  const shard::Weights weights_;
  shard::Activations attended_, inner_;
  std::vector<float> scratch_ = std::vector<float>(static_cast<std::size_t>(config_.hidden_size));
  shard::StepTimes times_;
  shard::LlamaRunner runner_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("bench_fixed_order MODEL\n", stderr);
    return 2;
  }
  try {
    const model::Model model = model::open_model(argv[1]);
    for (const int ranks : {1, 2}) {
      comm::spawn_ranks(ranks, std::chrono::seconds(60), [&](comm::Communicator& communicator) {
        const kernels::FlushDenormals flush_denormals;
        const kernels::PinnedThread pinned(core(communicator.rank()));
        OrderBench bench(model, communicator);
        for (const std::int32_t rows : {1, 8, 32, kMostRows}) {
          bench.run(rows, ranks == 1 && rows == 1);
        }
      });
    }
    std::puts("\n]");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
