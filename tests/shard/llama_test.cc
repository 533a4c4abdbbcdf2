// The forward pass against plain double-precision loops, and against itself at every world size.
#include "shard/llama.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <numeric>
#include <optional>
#include <random>
#include <thread>

#include "kernels/half.h"

namespace lockstep::shard {
namespace {

using kernels::DType;

// Random weights in memory, bf16, under Hugging Face names.
class RandomTensors final : public model::TensorSource {
 public:
  RandomTensors(const model::ModelConfig& config, unsigned seed) : random_(seed) {
    const auto hidden = config.hidden_size, inner = config.intermediate_size;
    const auto q = config.num_attention_heads * config.head_dim;
    const auto kv = config.num_key_value_heads * config.head_dim;
    add("model.embed_tokens.weight", {config.vocab_size, hidden}, 1.0f);
    add("model.norm.weight", {hidden}, 1.0f);
    if (!config.tie_word_embeddings) add("lm_head.weight", {config.vocab_size, hidden}, 0.2f);
    for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
      const std::string scope = "model.layers." + std::to_string(i) + ".";
      add(scope + "input_layernorm.weight", {hidden}, 1.0f);
      add(scope + "post_attention_layernorm.weight", {hidden}, 1.0f);
      add(scope + "self_attn.q_proj.weight", {q, hidden}, 0.15f);
      add(scope + "self_attn.k_proj.weight", {kv, hidden}, 0.15f);
      add(scope + "self_attn.v_proj.weight", {kv, hidden}, 0.15f);
      add(scope + "self_attn.o_proj.weight", {hidden, q}, 0.15f);
      add(scope + "mlp.gate_proj.weight", {inner, hidden}, 0.15f);
      add(scope + "mlp.up_proj.weight", {inner, hidden}, 0.15f);
      add(scope + "mlp.down_proj.weight", {hidden, inner}, 0.15f);
    }
  }

  const model::Tensor* find(std::string_view name) const override {
    const auto at = tensors_.find(std::string(name));
    return at == tensors_.end() ? nullptr : &at->second;
  }
  const std::string& path() const override { return path_; }
  void release(const model::Tensor&) const override {}

  double value(const std::string& name, std::int64_t i) const {
    return kernels::bf16_to_float(storage_.at(name)[static_cast<std::size_t>(i)]);
  }

 private:
  void add(const std::string& name, std::vector<std::int64_t> shape, float spread) {
    std::int64_t count = 1;
    for (const auto size : shape) count *= size;
    auto& values = storage_[name];
    std::normal_distribution<float> normal(0.0f, spread);
    for (std::int64_t i = 0; i < count; ++i)
      values.push_back(kernels::float_to_bf16(normal(random_)));
    tensors_[name] = {name, DType::bf16, std::move(shape), std::as_bytes(std::span(values)), false};
  }

  std::mt19937 random_;
  std::string path_ = "random";
  std::map<std::string, std::vector<std::uint16_t>> storage_;
  std::map<std::string, model::Tensor> tensors_;
};

model::ModelConfig small_config() {
  model::ModelConfig config;
  config.family = "llama";
  config.hidden_size = 96;
  config.intermediate_size = 320;  // ten groups of 32 in six lanes: lanes of unequal width
  config.num_hidden_layers = 2;
  config.num_attention_heads = 6;
  config.num_key_value_heads = 3;
  config.head_dim = 32;
  config.vocab_size = 107;
  config.max_position_embeddings = 256;
  config.rope_theta = 10000.0;
  return config;
}

model::Model make_model(const model::ModelConfig& config) {
  model::Model model;
  model.path = "random";
  model.config = config;
  model.tensors = std::make_unique<RandomTensors>(config, 5);
  return model;
}

std::vector<std::int32_t> some_tokens(int count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::int32_t> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back(static_cast<std::int32_t>(random() % 107));
  return tokens;
}

// The whole model in double precision, one sequence: logits of the last position.
class Reference {
 public:
  explicit Reference(const model::Model& model)
      : config_(model.config), tensors_(dynamic_cast<const RandomTensors&>(*model.tensors)) {}

  std::vector<double> last_logits(const std::vector<std::int32_t>& tokens) const {
    using Rows = std::vector<std::vector<double>>;
    Rows x;
    for (const auto token : tokens)
      x.push_back(weight_row("model.embed_tokens.weight", token, config_.hidden_size));
    for (std::int64_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
      const std::string scope = "model.layers." + std::to_string(layer) + ".";
      Rows q, k, v;
      for (std::size_t p = 0; p < x.size(); ++p) {
        const auto n = norm(x[p], scope + "input_layernorm.weight");
        q.push_back(rotate(multiply(n, scope + "self_attn.q_proj.weight"), p));
        k.push_back(rotate(multiply(n, scope + "self_attn.k_proj.weight"), p));
        v.push_back(multiply(n, scope + "self_attn.v_proj.weight"));
      }
      for (std::size_t p = 0; p < x.size(); ++p) {
        add(x[p], multiply(attend(q[p], k, v, p), scope + "self_attn.o_proj.weight"));
        const auto n = norm(x[p], scope + "post_attention_layernorm.weight");
        auto gate = multiply(n, scope + "mlp.gate_proj.weight");
        const auto up = multiply(n, scope + "mlp.up_proj.weight");
        for (std::size_t i = 0; i < gate.size(); ++i)
          gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
        add(x[p], multiply(gate, scope + "mlp.down_proj.weight"));
      }
    }
    return multiply(norm(x.back(), "model.norm.weight"),
                    config_.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight");
  }

 private:
  std::vector<double> weight_row(const std::string& name, std::int64_t row,
                                 std::int64_t columns) const {
    std::vector<double> values;
    for (std::int64_t i = 0; i < columns; ++i)
      values.push_back(tensors_.value(name, row * columns + i));
    return values;
  }
  std::vector<double> multiply(const std::vector<double>& x, const std::string& name) const {
    const auto& shape = tensors_.find(name)->shape;
    std::vector<double> y;
    for (std::int64_t row = 0; row < shape[0]; ++row) {
      const auto w = weight_row(name, row, shape[1]);
      y.push_back(std::inner_product(w.begin(), w.end(), x.begin(), 0.0));
    }
    return y;
  }
  std::vector<double> norm(std::vector<double> x, const std::string& name) const {
    double squares = 0;
    for (const double value : x) squares += value * value;
    const double scale =
        1 / std::sqrt(squares / static_cast<double>(x.size()) + config_.rms_norm_eps);
    for (std::size_t i = 0; i < x.size(); ++i)
      x[i] *= scale * tensors_.value(name, static_cast<std::int64_t>(i));
    return x;
  }
  std::vector<double> rotate(std::vector<double> heads, std::size_t position) const {
    const auto dim = static_cast<std::size_t>(config_.head_dim);
    for (std::size_t h = 0; h < heads.size(); h += dim) {
      for (std::size_t i = 0; i < dim / 2; ++i) {
        const double angle =
            static_cast<double>(position) *
            std::pow(config_.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(dim));
        const double a = heads[h + i], b = heads[h + i + dim / 2];
        heads[h + i] = a * std::cos(angle) - b * std::sin(angle);
        heads[h + i + dim / 2] = b * std::cos(angle) + a * std::sin(angle);
      }
    }
    return heads;
  }
  std::vector<double> attend(const std::vector<double>& q,
                             const std::vector<std::vector<double>>& k,
                             const std::vector<std::vector<double>>& v,
                             std::size_t position) const {
    const auto dim = static_cast<std::size_t>(config_.head_dim);
    const auto shared =
        static_cast<std::size_t>(config_.num_attention_heads / config_.num_key_value_heads);
    std::vector<double> out(q.size());
    for (std::size_t h = 0; h < q.size() / dim; ++h) {
      const std::size_t kv = h / shared * dim;
      std::vector<double> weight;
      double total = 0;
      for (std::size_t p = 0; p <= position; ++p) {
        double score = 0;
        for (std::size_t d = 0; d < dim; ++d) score += q[h * dim + d] * k[p][kv + d];
        weight.push_back(std::exp(score / std::sqrt(static_cast<double>(dim))));
        total += weight.back();
      }
      for (std::size_t p = 0; p <= position; ++p) {
        for (std::size_t d = 0; d < dim; ++d) out[h * dim + d] += weight[p] / total * v[p][kv + d];
      }
    }
    return out;
  }
  static void add(std::vector<double>& x, const std::vector<double>& y) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  }

  const model::ModelConfig config_;
  const RandomTensors& tensors_;
};

constexpr RunnerOptions kOptions{.block_size = 16,
                                 .num_blocks = 12,
                                 .max_batch_tokens = 64,
                                 .max_sequences = 4,
                                 .max_positions = 128};

// Runs `steps` of batches on `world` ranks; returns the logits of all steps, whole vocabulary.
using Steps = std::vector<std::vector<ForwardSequence>>;
std::vector<std::uint32_t> run(const model::Model& model, int world, int threads,
                               kernels::CpuFamily family, const Steps& steps,
                               const RunnerOptions& options = kOptions) {
  std::vector<std::vector<std::vector<float>>> per_rank(static_cast<std::size_t>(world));
  comm::spawn_ranks(world, std::chrono::seconds(20), [&](comm::Communicator& communicator) {
    kernels::ThreadPool pool(threads);
    StepTimes times(communicator);
    LlamaRunner runner(model, options, communicator, pool, kernels::kernel_table(family), times);
    for (const auto& batch : steps) {
      const auto logits = runner.forward(batch);
      const auto range =
          static_cast<std::size_t>(runner.vocab_range().end - runner.vocab_range().begin);
      for (std::size_t row = 0; row < logits.size() / range; ++row) {
        per_rank[static_cast<std::size_t>(communicator.rank())].emplace_back(
            logits.begin() + static_cast<std::ptrdiff_t>(row * range),
            logits.begin() + static_cast<std::ptrdiff_t>((row + 1) * range));
      }
    }
  });
  std::vector<std::uint32_t> bits;
  for (std::size_t row = 0; row < per_rank[0].size(); ++row) {
    for (const auto& rank : per_rank) {
      for (const float value : rank[row]) bits.push_back(std::bit_cast<std::uint32_t>(value));
    }
  }
  return bits;
}

std::string link_name(int stage, int rank) {
  return "inproc://" + std::to_string(stage) + "-" + std::to_string(rank);
}

// The same on a pipeline of stages of `tp` ranks each, which exchange activations over real links.
std::vector<std::uint32_t> run_pipeline(const model::Model& model, int stages, int tp,
                                        const Steps& steps) {
  constexpr std::chrono::milliseconds kDeadline{20000};
  const comm::PlanBusAddress kBus{.endpoint = "", .epoch = 1, .token = "token"};
  zmq::context_t context;
  const auto layers = pipeline_stages(model.config, stages);
  std::vector<std::vector<std::vector<float>>> per_rank(static_cast<std::size_t>(tp));
  const auto run_stage = [&](int stage) {
    comm::spawn_ranks(tp, kDeadline, [&](comm::Communicator& communicator) {
      const int rank = communicator.rank();
      comm::PlanBusAddress address = kBus;
      std::optional<comm::StageOutlet> next;
      std::optional<comm::StageInlet> previous;
      if (stage + 1 < stages) {
        address.endpoint = link_name(stage, rank);
        next.emplace(context, address, comm::StagePeer{(stage + 1) * tp + rank, kDeadline});
      }
      if (stage > 0) {
        address.endpoint = link_name(stage - 1, rank);
        previous.emplace(context, address, stage * tp + rank,
                         comm::StagePeer{(stage - 1) * tp + rank, kDeadline}, 1 << 20);
      }
      if (next) next->wait_for_inlet();
      kernels::ThreadPool pool(1);
      StepTimes times(communicator, nullptr, previous ? &*previous : nullptr);
      LlamaRunner runner(model, kOptions, communicator, pool,
                         kernels::kernel_table(kernels::supported_families().back()), times,
                         {layers[static_cast<std::size_t>(stage)], previous ? &*previous : nullptr,
                          next ? &*next : nullptr});
      for (const auto& batch : steps) {
        const auto logits = runner.forward(batch);
        const auto range =
            static_cast<std::size_t>(runner.vocab_range().end - runner.vocab_range().begin);
        for (std::size_t row = 0; row < logits.size() / range; ++row) {
          per_rank[static_cast<std::size_t>(rank)].emplace_back(
              logits.begin() + static_cast<std::ptrdiff_t>(row * range),
              logits.begin() + static_cast<std::ptrdiff_t>((row + 1) * range));
        }
      }
      communicator.barrier("end");
    });
  };
  {
    std::vector<std::jthread> threads;
    for (int stage = 0; stage < stages; ++stage) threads.emplace_back(run_stage, stage);
  }
  std::vector<std::uint32_t> bits;
  for (std::size_t row = 0; row < per_rank[0].size(); ++row) {
    for (const auto& rank : per_rank) {
      for (const float value : rank[row]) bits.push_back(std::bit_cast<std::uint32_t>(value));
    }
  }
  return bits;
}

class Llama : public testing::Test {
 protected:
  model::Model model_ = make_model(small_config());
  const std::vector<std::int32_t> tokens_ = some_tokens(45, 21);
  const std::vector<std::int32_t> other_ = some_tokens(20, 22);
  const std::int32_t blocks_[3] = {7, 2, 9};
  const std::int32_t other_blocks_[2] = {1, 5};
  const kernels::CpuFamily fastest_ = kernels::supported_families().back();

  ForwardSequence piece(int begin, int end, bool logits) const {
    return {std::span(tokens_).subspan(static_cast<std::size_t>(begin),
                                       static_cast<std::size_t>(end - begin)),
            begin, blocks_, logits};
  }
};

TEST_F(Llama, EqualsTheDoublePrecisionModel) {
  const auto bits = run(model_, 1, 1, fastest_, {{piece(0, 45, true)}});
  const auto expected = Reference(model_).last_logits(tokens_);
  ASSERT_EQ(bits.size(), expected.size());
  double scale = 0;
  for (const double value : expected) scale = std::max(scale, std::fabs(value));
  for (std::size_t i = 0; i < bits.size(); ++i) {
    // The cache holds bf16, eight bits of mantissa.
    EXPECT_NEAR(std::bit_cast<float>(bits[i]), expected[i], 0.01 * scale) << i;
  }
}

TEST_F(Llama, GivesTheSameBitsAtEveryWorldSize) {
  const Steps steps{{piece(0, 45, true)}};
  const auto expected = run(model_, 1, 1, fastest_, steps);
  for (int world = 2; world <= 6; ++world) {
    EXPECT_EQ(run(model_, world, 1, fastest_, steps), expected) << world << " ranks";
  }
}

TEST_F(Llama, GivesTheSameBitsWithAnyNumberOfThreads) {
  const Steps steps{{piece(0, 45, true)}};
  const auto expected = run(model_, 1, 1, fastest_, steps);
  for (const int threads : {2, 3}) EXPECT_EQ(run(model_, 1, threads, fastest_, steps), expected);
}

TEST_F(Llama, GivesTheSameBitsInEveryFamily) {
  const Steps steps{{piece(0, 45, true)}};
  const auto expected = run(model_, 1, 1, fastest_, steps);
  for (const auto family : kernels::supported_families()) {
    if (family == kernels::CpuFamily::amx) continue;  // sums bf16 products in an order of its own
    EXPECT_EQ(run(model_, 1, 1, family, steps), expected) << kernels::name(family);
  }
}

TEST_F(Llama, GivesTheSameBitsInChunksAndInCompany) {
  const auto whole = run(model_, 1, 1, fastest_, {{piece(0, 45, true)}});
  const ForwardSequence company{other_, 0, other_blocks_, false};
  const Steps chunks{{piece(0, 7, false)},
                     {company, piece(7, 8, false)},
                     {piece(8, 40, false)},
                     {piece(40, 44, false)},
                     {piece(44, 45, true)}};
  EXPECT_EQ(run(model_, 1, 1, fastest_, chunks), whole);
  EXPECT_EQ(run(model_, 2, 2, fastest_, chunks), whole);
}

TEST_F(Llama, GivesTheSameBitsInAPipeline) {
  auto config = small_config();
  config.num_hidden_layers = 3;
  for (const bool tied : {true, false}) {
    config.tie_word_embeddings = tied;
    const model::Model model = make_model(config);
    const ForwardSequence company{other_, 0, other_blocks_, true};
    const Steps steps{{piece(0, 7, false)}, {company, piece(7, 44, false)}, {piece(44, 45, true)}};
    const auto expected = run(model, 1, 1, fastest_, steps);
    ASSERT_EQ(expected.size(), 2u * 107u);
    EXPECT_EQ(run_pipeline(model, 2, 1, steps), expected);
    EXPECT_EQ(run_pipeline(model, 3, 1, steps), expected);
    EXPECT_EQ(run_pipeline(model, 2, 2, steps), expected);
    EXPECT_EQ(run_pipeline(model, 3, 3, steps), expected);
  }
}

TEST_F(Llama, KeepsKeysAndValuesInBytesOnRequest) {
  RunnerOptions options = kOptions;
  options.kv_format = kernels::KvFormat::int8;
  const Steps chunks{{piece(0, 30, false)}, {piece(30, 44, false)}, {piece(44, 45, true)}};
  const auto bits = run(model_, 1, 1, fastest_, chunks, options);
  const auto expected = Reference(model_).last_logits(tokens_);
  ASSERT_EQ(bits.size(), expected.size());
  double scale = 0;
  for (const double value : expected) scale = std::max(scale, std::fabs(value));
  for (std::size_t i = 0; i < bits.size(); ++i) {
    EXPECT_NEAR(std::bit_cast<float>(bits[i]), expected[i], 0.03 * scale) << i;
  }
  EXPECT_NE(bits, run(model_, 1, 1, fastest_, chunks));
  for (int world = 2; world <= 4; ++world) {
    EXPECT_EQ(run(model_, world, 2, fastest_, {{piece(0, 45, true)}}, options), bits);
  }
}

// One sequence with so many keys that threads share its chunks, and another one beside it.
TEST_F(Llama, GivesTheSameBitsWhenThreadsShareALongContext) {
  constexpr std::int32_t kLong = 2100;
  const RunnerOptions options{.num_blocks = 150, .max_batch_tokens = kLong, .max_positions = 2200};
  const std::vector<std::int32_t> tokens = some_tokens(kLong, 23);
  std::vector<std::int32_t> blocks(132);
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    blocks[i] = static_cast<std::int32_t>(10 + i * 61 % 137);
  }
  const auto part = [&](int begin, int end, bool logits) {
    return ForwardSequence{std::span(tokens).subspan(static_cast<std::size_t>(begin),
                                                     static_cast<std::size_t>(end - begin)),
                           begin, blocks, logits};
  };
  const auto expected = run(model_, 1, 1, fastest_, {{part(0, kLong, true)}}, options);
  const ForwardSequence company{other_, 0, other_blocks_, false};
  for (const int threads : {1, 2, 3}) {
    for (const int world : {1, 2}) {
      const Steps steps{{part(0, kLong - 1, false)}, {company, part(kLong - 1, kLong, true)}};
      EXPECT_EQ(run(model_, world, threads, fastest_, steps, options), expected)
          << threads << " threads, " << world << " ranks";
    }
  }
}

TEST_F(Llama, LeavesOutLogitsThatNobodyWants) {
  EXPECT_TRUE(run(model_, 2, 1, fastest_, {{piece(0, 45, false)}}).empty());
}

TEST_F(Llama, UntiesOrTiesTheHeadAsTheModelSays) {
  auto config = small_config();
  config.tie_word_embeddings = true;
  const auto tied = make_model(config);
  const auto bits = run(tied, 3, 1, fastest_, {{piece(0, 45, true)}});
  const auto expected = Reference(tied).last_logits(tokens_);
  double scale = 0;
  for (const double value : expected) scale = std::max(scale, std::fabs(value));
  for (std::size_t i = 0; i < bits.size(); ++i) {
    EXPECT_NEAR(std::bit_cast<float>(bits[i]), expected[i], 0.01 * scale) << i;
  }
}

TEST(RopeTable, ScalesLowFrequenciesAsLlama3Does) {
  auto config = small_config();
  config.head_dim = 128;
  config.rope_theta = 500000.0;
  const auto plain = rope_frequencies(config);
  config.rope_scaling = model::Llama3RopeScaling{8.0f, 1.0f, 4.0f, 8192};
  const auto scaled = rope_frequencies(config);
  EXPECT_DOUBLE_EQ(scaled[0], plain[0]);        // high frequencies stay
  EXPECT_DOUBLE_EQ(scaled[63], plain[63] / 8);  // low ones are divided
  // In between, from transformers' _compute_llama3_parameters (float32): index 30.
  const double wavelength = 2 * M_PI / plain[30];
  const double smooth = (8192 / wavelength - 1) / 3;
  ASSERT_GT(smooth, 0);
  ASSERT_LT(smooth, 1);
  EXPECT_NEAR(scaled[30], plain[30] * ((1 - smooth) / 8 + smooth), 1e-12);
}

}  // namespace
}  // namespace lockstep::shard
