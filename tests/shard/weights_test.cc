// Loading with and without a cache, from a small model in memory.
#include "shard/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <random>

#include "base/hash.h"
#include "shard/weight_cache.h"

namespace lockstep::shard {
namespace {

using kernels::DType;

// Random bytes under Hugging Face names: of the storage types of GGUF, or with those of eight bits
// and with none that a matrix unit does not take.
class PatternedTensors final : public model::TensorSource {
 public:
  explicit PatternedTensors(const model::ModelConfig& config, bool for_unit = false) {
    const auto hidden = config.hidden_size, inner = config.intermediate_size;
    const auto q = config.num_attention_heads * config.head_dim;
    const auto kv = config.num_key_value_heads * config.head_dim;
    const std::string scope = "model.layers.0.";
    add("model.embed_tokens.weight", DType::q8_0, {config.vocab_size, hidden});
    add("lm_head.weight", DType::q4_1, {config.vocab_size, hidden});
    add("model.norm.weight", DType::f32, {hidden});
    add(scope + "input_layernorm.weight", DType::f32, {hidden});
    add(scope + "post_attention_layernorm.weight", DType::bf16, {hidden});
    add(scope + "self_attn.q_proj.weight", DType::q4_0, {q, hidden});
    add(scope + "self_attn.k_proj.weight", DType::bf16, {kv, hidden});
    add(scope + "self_attn.v_proj.weight", for_unit ? DType::i8 : DType::f16, {kv, hidden});
    add(scope + "self_attn.o_proj.weight", for_unit ? DType::e4m3 : DType::f32, {hidden, q});
    add(scope + "mlp.gate_proj.weight", DType::q4_1, {inner, hidden});
    add(scope + "mlp.up_proj.weight", DType::q4_1, {inner, hidden});
    add(scope + "mlp.down_proj.weight", DType::q8_0, {hidden, inner});
    tensors_.at(scope + "self_attn.q_proj.weight").rope_interleaved = true;
  }

  const model::Tensor* find(std::string_view name) const override {
    const auto at = tensors_.find(std::string(name));
    return at == tensors_.end() ? nullptr : &at->second;
  }
  const std::string& path() const override { return path_; }
  void release(const model::Tensor&) const override {}

 private:
  void add(const std::string& name, DType type, std::vector<std::int64_t> shape) {
    std::size_t values = 1;
    for (const auto size : shape) values *= static_cast<std::size_t>(size);
    auto& bytes = storage_[name];
    bytes.resize(values / kernels::block_values(type) * kernels::block_bytes(type));
    // Small positive numbers in any of the types: no NaN, no infinity.
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random_() & 0x3f);
    model::Tensor& tensor = tensors_[name] = {name, type, std::move(shape), bytes, false};
    if (type != DType::i8 && type != DType::e4m3) return;
    tensor.scale_rows = 1;
    tensor.scale_columns = tensor.columns();
    auto& scales = scales_[name];
    for (std::int64_t row = 0; row < tensor.rows(); ++row) {
      scales.push_back(static_cast<float>(1 + row % 7) / 64.0f);
    }
    tensor.scales = std::as_bytes(std::span(scales));
  }

  std::mt19937 random_{3};
  const std::string path_ = "patterned";
  std::map<std::string, std::vector<std::byte>> storage_;
  std::map<std::string, std::vector<float>> scales_;
  std::map<std::string, model::Tensor> tensors_;
};

class WeightsTest : public testing::Test {
 protected:
  WeightsTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "lockstep-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    model_.config.hidden_size = 64;
    model_.config.intermediate_size = 128;
    model_.config.num_hidden_layers = 1;
    model_.config.num_attention_heads = 2;
    model_.config.num_key_value_heads = 2;
    model_.config.head_dim = 32;
    model_.config.vocab_size = 40;
    model_.path = (folder_ / "m.gguf").string();
    std::ofstream(model_.path) << "stands for the model's file";
    model_.tensors = std::make_unique<PatternedTensors>(model_.config);
  }
  ~WeightsTest() override { std::filesystem::remove_all(folder_); }

  std::string cache() const { return (folder_ / "cache").string(); }

  // Packed as a matrix unit wants them.
  std::uint64_t bits_for_unit(kernels::PackedLayout layout) {
    model_.tensors = std::make_unique<PatternedTensors>(model_.config, true);
    return bits(load_weights(model_, partition_model(model_.config, 1)[0], pool_, {{}, layout}));
  }

  std::uint64_t bits_of_rank(int rank, int world, const std::string& cache_directory) {
    const auto parts = partition_model(model_.config, world);
    return bits(
        load_weights(model_, parts[static_cast<std::size_t>(rank)], pool_, {}, cache_directory));
  }

  // Of all matrices and norms.
  static std::uint64_t bits(const Weights& weights) {
    Hash64 hash;
    for (const auto run : weights.arena->contents()) hash.add(run);
    for (const auto* norm : {&weights.final_norm, &weights.layers[0].input_norm,
                             &weights.layers[0].post_attention_norm}) {
      hash.add(std::as_bytes(std::span(*norm)));
    }
    return hash.value();
  }

  // The modification times of the cache's files.
  std::map<std::string, std::filesystem::file_time_type> files() const {
    std::map<std::string, std::filesystem::file_time_type> found;
    for (const auto& entry : std::filesystem::directory_iterator(cache())) {
      found[entry.path().filename().string()] = entry.last_write_time();
    }
    return found;
  }

  std::filesystem::path folder_;
  model::Model model_;
  kernels::ThreadPool pool_{2};
};

TEST_F(WeightsTest, AreWhatTheirVersionSays) {
  // When this fails, packed bytes have changed: raise kPackedWeightsVersion, so that no cached file
  // of the old ones is read, and record the new value.
  EXPECT_EQ(kPackedWeightsVersion, 3u);
  EXPECT_EQ(bits_of_rank(0, 1, ""), 0xc681b0ded6566688u);
  EXPECT_EQ(bits_for_unit(kernels::PackedLayout::interleaved), 0xe4c1e82f8cfd2c2u);
  EXPECT_EQ(bits_for_unit(kernels::PackedLayout::rows), 0x9fe5c906cdb150a5u);
}

TEST_F(WeightsTest, FromTheCacheHaveTheSameBits) {
  const auto packed = bits_of_rank(0, 1, "");
  EXPECT_EQ(bits_of_rank(0, 1, cache()), packed);  // writes
  const auto written = files();
  model_.tensors = std::make_unique<PatternedTensors>(model_.config);
  EXPECT_EQ(bits_of_rank(0, 1, cache()), packed);  // reads
  EXPECT_EQ(files(), written);
  EXPECT_EQ(written.size(), 1u);
}

TEST_F(WeightsTest, ComeFromTheFileAndNotFromTheModel) {
  const auto part = partition_model(model_.config, 1)[0];
  auto weights = load_weights(model_, part, pool_);
  weights.arena->contents()[0][5] ^= std::byte{1};
  WeightCache(cache(), weight_digest(model_, part, {}), pool_).store(*weights.arena);
  EXPECT_EQ(bits_of_rank(0, 1, cache()), bits(weights));
  EXPECT_NE(bits_of_rank(0, 1, ""), bits(weights));
}

TEST_F(WeightsTest, OfEachRankHaveTheirOwnFile) {
  const std::vector<std::uint64_t> packed{bits_of_rank(0, 2, ""), bits_of_rank(1, 2, "")};
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(bits_of_rank(0, 2, cache()), packed[0]);
    EXPECT_EQ(bits_of_rank(1, 2, cache()), packed[1]);
    EXPECT_EQ(files().size(), 2u);
  }
}

TEST_F(WeightsTest, OfADamagedFileArePackedAnewAndTheFileReplaced) {
  const auto packed = bits_of_rank(0, 1, cache());
  const std::string path = (folder_ / "cache" / files().begin()->first).string();
  std::filesystem::resize_file(path, 5000);
  EXPECT_EQ(bits_of_rank(0, 1, cache()), packed);
  EXPECT_GT(std::filesystem::file_size(path), 5000u);
  EXPECT_EQ(bits_of_rank(0, 1, cache()), packed);
}

TEST_F(WeightsTest, OfAnotherModelAreNotReadFromTheCache) {
  bits_of_rank(0, 1, cache());
  std::ofstream(model_.path) << "another model's file";
  bits_of_rank(0, 1, cache());
  EXPECT_EQ(files().size(), 2u);
}

}  // namespace
}  // namespace lockstep::shard
