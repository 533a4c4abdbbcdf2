// What rounding costs: the perplexity of a fixed text under one choice of activations and of how
// keys and values are stored.
//
//   bench_perplexity MODEL TEXT auto|int8|bf16|f32 bf16|int8
//
// The text is cut in windows of 256 tokens, 32 of them side by side, one token of each a step.
// Prints JSON: tokens predicted, their mean negative log-likelihood, and its exponential.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

#include "base/error.h"
#include "kernels/cpu_family.h"
#include "model/model.h"
#include "shard/llama.h"

namespace {

using namespace lockstep;

constexpr std::int32_t kWindow = 256;
constexpr std::int32_t kWindows = 32;
constexpr std::int32_t kBlockSize = 16;

// A world of one rank.
class Alone final : public comm::Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::string_view name() const override { return "alone"; }
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all,
                  std::span<const std::size_t>, std::string_view) override {
    std::memmove(all.data(), mine.data(), mine.size());
  }
  void all_to_all(std::span<const std::byte> send, std::span<const std::size_t>,
                  std::span<std::byte> received, std::span<const std::size_t>,
                  std::string_view) override {
    std::memmove(received.data(), send.data(), send.size());
  }
  void barrier(std::string_view) override {}
  std::span<std::byte> shared_memory(std::size_t, std::string_view) override { return {}; }
  std::chrono::nanoseconds time_spent() const override { return {}; }
};

shard::ActivationChoice choice(const std::string& name) {
  using kernels::ActivationFormat;
  if (name == "auto") return {};
  if (name == "int8") return shard::ActivationChoice(ActivationFormat::int8);
  if (name == "bf16") return shard::ActivationChoice(ActivationFormat::bf16);
  if (name == "f32") return shard::ActivationChoice(ActivationFormat::f32);
  throw Error("activations are '" + name + "': auto, int8, bf16 or f32");
}

kernels::KvFormat kv_format(const std::string& name) {
  if (name == "bf16") return kernels::KvFormat::bf16;
  if (name == "int8") return kernels::KvFormat::int8;
  throw Error("keys and values are '" + name + "': bf16 or int8");
}

double negative_log_likelihood(std::span<const float> logits, std::int32_t token) {
  const float top = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit - top));
  return std::log(sum) + top - logits[static_cast<std::size_t>(token)];
}

void run(const std::string& path, const std::string& text_path, shard::ActivationChoice activations,
         kernels::KvFormat kv_format) {
  const model::Model model = model::open_model(path);
  const auto tokenizer = model::make_tokenizer(model.tokenizer, path);
  std::ifstream file(text_path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto tokens = tokenizer->encode(text, {.add_special_tokens = false});
  if (tokens.size() < kWindow * kWindows) {
    throw Error(text_path + " has " + std::to_string(tokens.size()) + " tokens, " +
                std::to_string(kWindow * kWindows) + " are needed");
  }
  Alone alone;
  kernels::ThreadPool pool(2);
  shard::StepTimes times(alone);
  shard::LlamaRunner runner(model,
                            {.kv_format = kv_format,
                             .block_size = kBlockSize,
                             .num_blocks = kWindows * kWindow / kBlockSize,
                             .max_batch_tokens = kWindows,
                             .max_logits = kWindows,
                             .max_positions = kWindow,
                             .activations = activations},
                            alone, pool, kernels::kernel_table(kernels::select_family("auto")),
                            times);
  std::vector<std::vector<std::int32_t>> tables(kWindows);
  for (std::int32_t i = 0; i < kWindows * kWindow / kBlockSize; ++i) {
    tables[static_cast<std::size_t>(i / (kWindow / kBlockSize))].push_back(i);
  }
  double total = 0;
  for (std::int32_t position = 0; position + 1 < kWindow; ++position) {
    std::vector<shard::ForwardSequence> batch;
    for (std::int32_t w = 0; w < kWindows; ++w) {
      batch.push_back({.token_ids = std::span(tokens).subspan(
                           static_cast<std::size_t>(w * kWindow + position), 1),
                       .first_position = position,
                       .block_table = tables[static_cast<std::size_t>(w)],
                       .num_logits = 1});
    }
    const std::span<float> logits = runner.forward(batch);
    const std::size_t row = logits.size() / kWindows;
    for (std::int32_t w = 0; w < kWindows; ++w) {
      const auto next = tokens[static_cast<std::size_t>(w * kWindow + position + 1)];
      total += negative_log_likelihood(logits.subspan(static_cast<std::size_t>(w) * row, row), next);
    }
  }
  const int count = kWindows * (kWindow - 1);
  std::printf("{\"tokens\": %d, \"nll\": %.5f, \"perplexity\": %.4f}\n", count, total / count,
              std::exp(total / count));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fputs("bench_perplexity MODEL TEXT auto|int8|bf16|f32 bf16|int8\n", stderr);
    return 2;
  }
  try {
    run(argv[1], argv[2], choice(argv[3]), kv_format(argv[4]));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
