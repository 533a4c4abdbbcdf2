// Attention alone: sequences that decode, each at the same position, through all layers of a model,
// so that keys and values come from memory as in a real step.
//
//   bench_attention MODEL [KV_FORMAT]        bf16 (default) or int8
//
// Prints a table: for numbers of sequences and positions, microseconds a layer, and keys and values
// read a second; once more with one layer's cache read over and over (from the processor's caches,
// where it fits).
#include "shard/attention.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <numeric>
#include <random>
#include <string_view>
#include <vector>

#include "kernels/cpu_family.h"
#include "kernels/flush_denormals.h"
#include "kernels/thread_pool.h"
#include "model/model.h"
#include "shard/activations.h"
#include "shard/kv_cache.h"

namespace {

using namespace lockstep;
using Clock = std::chrono::steady_clock;

constexpr std::int32_t kBlock = 16;
constexpr int kRounds = 15;

struct Sizes {
  std::int32_t sequences;
  std::int32_t positions;  // keys that each attends
  std::int32_t rows = 1;   // queries of each: several where it guesses ahead, many of a prompt
};

// Microseconds a layer: the best round.
double best_us(const model::Model& model, kernels::KvFormat format, const Sizes& sizes, int threads,
               bool same_layer) {
  const auto& kernels = kernels::kernel_table(kernels::select_family("auto"));
  const model::ModelConfig& config = model.config;
  const auto part = shard::partition_model(config, 1)[0];
  kernels::ThreadPool pool(threads);
  const std::int32_t blocks = (sizes.positions + kBlock - 1) / kBlock;
  shard::KvCache cache(config, part, format, kBlock, sizes.sequences * blocks, pool);
  const std::int32_t rows = sizes.sequences * sizes.rows;
  shard::Activations queries(rows, config.num_attention_heads * config.head_dim),
      attended(rows, config.num_attention_heads * config.head_dim);
  std::mt19937 random(1);
  const auto number = [&] { return static_cast<float>(random() % 2001) / 1000.0f - 1.0f; };
  for (std::int64_t i = 0; i < rows * queries.columns(); ++i) queries.row(0)[i] = number();
  std::vector<float> key(static_cast<std::size_t>(config.head_dim)), value = key;
  for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    for (std::int64_t head = 0; head < config.num_key_value_heads; ++head) {
      for (std::int32_t p = 0; p < cache.num_blocks() * kBlock; ++p) {
        std::ranges::generate(key, number);
        std::ranges::generate(value, number);
        std::byte* keys = cache.keys(layer, head) + p / kBlock * cache.block_stride();
        kernels.store_kv(format, key.data(), value.data(), config.head_dim, keys,
                         keys + cache.value_offset(), p % kBlock);
      }
    }
  }
  // A prompt's blocks are neighbours; later ones are taken in turns by all sequences.
  const std::vector<std::int32_t> tokens(static_cast<std::size_t>(sizes.rows), 1);
  std::vector<std::vector<std::int32_t>> tables;
  const std::int32_t prompt = blocks * 2 / 3;
  for (std::int32_t s = 0; s < sizes.sequences; ++s) {
    auto& table = tables.emplace_back();
    for (std::int32_t b = 0; b < blocks; ++b) {
      table.push_back(b < prompt ? s * prompt + b : sizes.sequences * b + s);
    }
  }
  std::vector<shard::ForwardSequence> batch;
  for (const auto& table : tables) {
    batch.push_back({.token_ids = tokens,
                     .first_position = sizes.positions - sizes.rows,
                     .block_table = table,
                     .num_logits = 1});
  }
  shard::Attention attention(config, part, sizes.positions, pool, kernels);
  attention.lay_out(batch);
  std::vector<double> rounds;
  for (int round = 0; round < kRounds; ++round) {
    const auto begin = Clock::now();
    for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
      attention.run(batch, cache, same_layer ? 0 : layer, queries, attended, {.int8 = true});
    }
    rounds.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count() /
                     static_cast<double>(config.num_hidden_layers));
  }
  return *std::ranges::min_element(rounds);
}

void measure(const model::Model& model, kernels::KvFormat format, const Sizes& sizes, int threads) {
  const model::ModelConfig& config = model.config;
  const double bytes = 2.0 * sizes.sequences * config.num_key_value_heads * sizes.positions *
                       static_cast<double>(kernels::kv_tile_bytes(format, config.head_dim)) /
                       kernels::kKvTile;
  const double cold = best_us(model, format, sizes, threads, false);
  const double warm = best_us(model, format, sizes, threads, true);
  std::printf("| %d | %d | %d | %d | %.0f | %.1f | %.0f | %.1f |\n", threads, sizes.sequences,
              sizes.positions, sizes.rows, cold, bytes / cold / 1e3, warm, bytes / warm / 1e3);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::fputs("bench_attention MODEL [bf16|int8]\n", stderr);
    return 2;
  }
  try {
    const kernels::FlushDenormals flush_denormals;
    const model::Model model = model::open_model(argv[1]);
    const auto format = argc == 3 && std::string_view(argv[2]) == "int8" ? kernels::KvFormat::int8
                                                                         : kernels::KvFormat::bf16;
    std::puts(
        "| threads | sequences | positions | rows | us a layer | GB/s | us, cached | GB/s |\n"
        "|---:|---:|---:|---:|---:|---:|---:|---:|");
    for (const int threads : {1, 2}) {
      for (const Sizes& sizes :
           {Sizes{1, 192}, Sizes{8, 192}, Sizes{32, 192}, Sizes{64, 192}, Sizes{1, 4096},
            Sizes{4, 128, 128}, Sizes{1, 192, 3}, Sizes{1, 192, 8}, Sizes{1, 1024},
            Sizes{1, 1024, 3}, Sizes{1, 1024, 8}, Sizes{1, 4096, 2}, Sizes{1, 4096, 3},
            Sizes{1, 4096, 8}}) {
        measure(model, format, sizes, threads);
      }
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
