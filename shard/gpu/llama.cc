#include "shard/gpu/llama.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/error.h"
#include "kernels/cuda/attention_backend.h"
#include "kernels/cuda/sum_plan.h"
#include "shard/lane_programs.h"
#include "shard/rope_table.h"

namespace lockstep::shard {
namespace {

using namespace kernels::cuda;

constexpr char kActivations[] = "activations";
// Blocks that keep a large GPU busy: with fewer rows, each chunk of a row's keys has a block.
constexpr std::int64_t kManyBlocks = 4 * 132;
// Of attention's parts: where a step needs more, a block computes all chunks of a row.
constexpr std::int64_t kMostPartFloats = 64 << 20;

enum Tree : std::size_t { kEmbedding, kAttention, kMlp };

std::vector<SegmentTree> trees(const model::ModelConfig& config,
                               const std::vector<Partition>& parts) {
  const LaneTree tree = lane_tree(config);
  return {one_segment_each(static_cast<int>(parts.size())),
          segment_tree(tree, lane_runs(parts, &Partition::query_heads)),
          segment_tree(tree, lane_runs(parts, &Partition::mlp_lanes))};
}

// The first query head of each key-value head of the rank, and the end.
std::vector<std::int32_t> first_queries(const model::ModelConfig& config, const Partition& part) {
  std::vector<std::int32_t> first;
  for (std::int32_t kv = part.key_value_heads.begin; kv < part.key_value_heads.end; ++kv) {
    first.push_back(part.queries_of(kv, config).begin - part.query_heads.begin);
  }
  first.push_back(part.query_heads.size());
  return first;
}

std::vector<std::string> layer_names(Range layers, const char* block) {
  std::vector<std::string> names;
  for (std::int32_t i = layers.begin; i < layers.end; ++i) {
    names.push_back("layer " + std::to_string(i) + " " + block);
  }
  return names;
}

std::int64_t bytes_of_half_block(const model::ModelConfig& config, const Partition& part,
                                 CacheFormat format, std::int32_t block_size) {
  const std::int64_t number = format == CacheFormat::bf16 ? 2 : 1;
  return number * part.key_value_heads.size() * block_size * config.head_dim;
}

const GpuRunnerOptions& checked(const GpuRunnerOptions& options, const model::ModelConfig& config,
                                const GpuWeights& weights, const PipelinePlace& place) {
  if (options.block_size < 16 || options.block_size % 16 != 0) {
    throw Error("block_size is " + std::to_string(options.block_size) +
                ": it must be a multiple of 16");
  }
  const Range layers = stage_layers(config, place);
  if (std::ssize(weights.layers) != layers.size()) {
    throw Error("weights of " + std::to_string(weights.layers.size()) +
                " layers for a stage of layers " + std::to_string(layers.begin) + " to " +
                std::to_string(layers.end));
  }
  return options;
}

}  // namespace

GpuLlamaRunner::GpuLlamaRunner(const model::ModelConfig& config, GpuWeights weights,
                               const GpuRunnerOptions& options, Gpu& gpu,
                               comm::GpuExchange& exchange, const PipelinePlace& place)
    : config_(config),
      options_(checked(options, config, weights, place)),
      gpu_(gpu),
      exchange_(exchange),
      place_(place),
      parts_(partition_model(config, exchange.size(), stage_layers(config, place))),
      weights_(std::move(weights)),
      inner_columns_(inner_columns(config, part())),
      logits_stride_(divide_up(part().vocabulary.size(), kPlainRows) * kPlainRows),
      reducer_(gpu, exchange, trees(config, parts_),
               {options.max_batch_tokens * config.hidden_size, options.gather_below}),
      hidden_plan_(sum_plan(kernels::whole_sum(config.hidden_size))),
      attention_plan_(sum_plan(attention_program(config, part()))),
      mlp_plan_(sum_plan(mlp_program(config, part()))),
      runs_(upload_array<HeadRun>(gpu, "tables", head_runs(first_queries(config, part())))),
      attention_names_(layer_names(part().layers, "attention")),
      mlp_names_(layer_names(part().layers, "mlp")),
      hidden_(gpu, kActivations, options.max_batch_tokens * config.hidden_size),
      normed_(gpu, kActivations, whole_granules(options.max_batch_tokens) * config.hidden_size),
      qkv_(gpu, kActivations,
           whole_granules(options.max_batch_tokens) * (query_columns() + 2 * kv_columns())),
      queries_(gpu, kActivations, options.max_batch_tokens * query_columns()),
      attended_(gpu, kActivations, options.max_batch_tokens * query_columns()),
      parts_of_chunks_(gpu, "attention's chunks",
                       options.flashinfer
                           ? 0
                           : std::min(kMostPartFloats,
                                      attention_part_floats(
                                          std::min(options.max_sequences, options.max_batch_tokens),
                                          2 * chunks_up_to(std::max(options.max_positions, 1) - 1),
                                          part().query_heads.size(),
                                          static_cast<std::int32_t>(config.head_dim)))),
      gate_up_(gpu, kActivations, whole_granules(options.max_batch_tokens) * 2 * inner_columns_),
      inner_(gpu, kActivations, options.max_batch_tokens * inner_columns_),
      last_(gpu, kActivations,
            has_head() ? whole_granules(options.max_sequences) * config.hidden_size : 0),
      logits_(gpu, "logits",
              has_head() ? whole_granules(options.max_sequences) * logits_stride_ : 0),
      sampled_(gpu, "choice of tokens", has_head() ? options.max_sequences : 0),
      downloaded_(gpu.pinned_memory().allocate(
          "logits", has_head() ? static_cast<std::size_t>(options.max_sequences * logits_stride_) *
                                     sizeof(float)
                               : 0)),
      flashinfer_(make_flashinfer()),
      upload_(gpu, upload_bytes(options) + (flashinfer_ ? flashinfer_->upload_bytes() : 0),
              [this](Mark& copied) { wait(copied, "an earlier step"); }),
      stream_(gpu, place, options.max_batch_tokens * config.hidden_size,
              [this](Mark& copied, const char* what) { wait(copied, what); }) {
  const RopeTable rope(config, options.max_positions);
  const auto angles = static_cast<std::size_t>(options.max_positions * (config.head_dim / 2));
  make_plain_products();
  cos_ = upload_array<float>(gpu, "tables", {rope.cos(0), angles});
  sin_ = upload_array<float>(gpu, "tables", {rope.sin(0), angles});
}

void GpuLlamaRunner::make_plain_products() {
  const auto make = [&](const GpuMatrix& matrix, std::int32_t max_rows) {
    if (!matrix.plain || matrix.view.rows == 0) return;
    if (!plain_products_) plain_products_ = gpu_.plain_products(options_.product_algorithms);
    const auto n = static_cast<std::int32_t>(divide_up(matrix.view.rows, kPlainRows)) * kPlainRows;
    auto& product = plain_by_rows_[matrix.view.rows];
    if (!product) {
      product = plain_products_->make(n, static_cast<std::int32_t>(config_.hidden_size), max_rows);
    }
  };
  // Where the head has as many rows as another, one product is for both.
  const std::int32_t most = std::max(options_.max_batch_tokens, options_.max_sequences);
  for (const GpuLayerWeights& layer : weights_.layers) {
    for (const GpuMatrix& matrix : layer.qkv) make(matrix, most);
    for (const GpuMatrix& matrix : layer.gate_up) make(matrix, most);
  }
  if (has_head()) make(weights_.output(), most);
  if (plain_products_) plain_products_->save();
}

PlainProduct* GpuLlamaRunner::plain_product_of(const GpuMatrix& weights) const {
  return weights.plain ? plain_by_rows_.at(weights.view.rows).get() : nullptr;
}

std::optional<FlashInferAttention> GpuLlamaRunner::make_flashinfer() const {
  if (!options_.flashinfer) return std::nullopt;
  const std::int32_t group = common_group(config_, exchange_.size());
  if (group == 0) throw Error("FlashInfer with key-value heads of unequal numbers of query heads");
  return std::make_optional<FlashInferAttention>(
      gpu_, FlashInferAttention::Sizes{.group = group,
                                       .query_heads = part().query_heads.size(),
                                       .head_dim = static_cast<std::int32_t>(config_.head_dim),
                                       .block_size = options_.block_size,
                                       .max_rows = options_.max_batch_tokens,
                                       .max_sequences = options_.max_sequences,
                                       .max_positions = options_.max_positions});
}

std::int32_t GpuLlamaRunner::common_group(const model::ModelConfig& config, int world_size) {
  std::int32_t common = -1;
  for (const Partition& part : partition_model(config, world_size)) {
    const std::int32_t group = kernels::cuda::common_group(first_queries(config, part));
    if (common >= 0 && group != common) return 0;
    common = group;
  }
  return common;
}

std::vector<VocabRange> GpuLlamaRunner::vocab_ranges() const {
  std::vector<VocabRange> ranges;
  for (const Partition& part : parts_) {
    ranges.push_back({part.vocabulary.begin, part.vocabulary.end});
  }
  return ranges;
}

// Cleared: FlashInfer multiplies what lies behind a sequence's end by zero.
void GpuLlamaRunner::allocate_cache(std::int32_t num_blocks) {
  num_blocks_ = num_blocks;
  // One block more than plans know, for padding rows.
  const auto half = static_cast<std::size_t>(bytes_of_half_block(
                        config_, part(), options_.kv_format, options_.block_size)) *
                    static_cast<std::size_t>(num_blocks + 1);
  for (std::int32_t layer = 0; layer < part().layers.size(); ++layer) {
    const LayerCache& cache = cache_.emplace_back(LayerCache{
        gpu_.memory().allocate("KV cache", half), gpu_.memory().allocate("KV cache", half)});
    gpu_.clear(cache.keys.data(), half, "KV cache");
    gpu_.clear(cache.values.data(), half, "KV cache");
  }
}

std::size_t GpuLlamaRunner::kv_block_bytes(const model::ModelConfig& config, const Partition& part,
                                           CacheFormat format, std::int32_t block_size) {
  return static_cast<std::size_t>(2 * part.layers.size() *
                                  bytes_of_half_block(config, part, format, block_size));
}

GpuLlamaRunner::SumPlanArrays GpuLlamaRunner::sum_plan(const kernels::LaneProgram& program) {
  const HostSumPlan plan = make_sum_plan(program);
  SumPlanArrays arrays{upload_array<Leaf>(gpu_, "tables", plan.leaves),
                       upload_array<Addition>(gpu_, "tables", plan.additions),
                       upload_array<std::int32_t>(gpu_, "tables", plan.level_ends),
                       upload_array<std::int32_t>(gpu_, "tables", plan.segments)};
  arrays.view = {arrays.leaves.data(),
                 arrays.additions.data(),
                 arrays.level_ends.data(),
                 arrays.segments.data(),
                 static_cast<std::int32_t>(plan.leaves.size()),
                 static_cast<std::int32_t>(plan.level_ends.size()),
                 static_cast<std::int32_t>(plan.segments.size())};
  return arrays;
}

GpuLogits GpuLlamaRunner::launch(const GpuStepTail& tail) {
  if (step_.rows == 0) return {};
  upload_.send();
  if (place_.previous != nullptr) receive_hidden();
  const auto put_tail = [&] {
    if (tail.put_in_line) tail.put_in_line({logits_.data(), logits_stride_, step_.wanted});
  };
  shape_.tail = recorded_step_ ? tail.recordable_as : 0;
  const auto work = [&] {
    run(step_);
    if (shape_.tail != 0) put_tail();
  };
  if (Recording* recording = recorded_step_ ? recording_of_step(work) : nullptr) {
    recording->launch();
  } else {
    work();
  }
  if (shape_.tail == 0) put_tail();
  if (place_.next == nullptr) return {logits_.data(), logits_stride_, wanted_};
  stream_.send(hidden_.data(), batch_rows_ * config_.hidden_size);
  return {};
}

// Padding rows must be numbers: attention multiplies what lies behind a sequence's end, in their
// block, by zero.
void GpuLlamaRunner::receive_hidden() {
  const std::int64_t values = batch_rows_ * config_.hidden_size;
  stream_.receive(hidden_.data(), values);
  const std::int64_t padding = step_.rows * config_.hidden_size - values;
  if (padding > 0) {
    gpu_.clear(hidden_.data() + values, static_cast<std::size_t>(padding) * sizeof(float),
               "padding rows");
  }
}

// A shape's first step is not recorded: it loads the kernels, which a capture of CUDA had better
// not do, and many shapes come once.
Recording* GpuLlamaRunner::recording_of_step(const std::function<void()>& work) {
  const auto [found, first] = recordings_.try_emplace(shape_);
  if (first) return nullptr;
  if (found->second == nullptr && recorded_ < options_.max_recordings) {
    found->second = gpu_.record(work);
    ++recorded_;
    spdlog::debug("recorded a step of {} rows up to {} positions: {} operations", step_.rows,
                  step_.chunks * kChunkPositions, found->second->nodes());
    if (recorded_ == options_.max_recordings) {
      spdlog::warn("{} shapes of steps are recorded: further ones run without", recorded_);
    }
  }
  return found->second.get();
}

void GpuLlamaRunner::wait(const char* what) {
  exchange_.wait(what);
  gpu_.synchronize(what);
}

void GpuLlamaRunner::wait(Mark& mark, const char* what) { exchange_.wait(mark, what); }

std::span<float> GpuLlamaRunner::forward(std::span<const ForwardSequence> batch) {
  begin(batch);
  const GpuLogits computed = launch();
  if (computed.rows == 0) return {};
  for (std::int32_t row = 0; row < computed.rows; ++row) download(row, row);
  wait("the forward pass");
  return host_logits().first(static_cast<std::size_t>(computed.rows) *
                             static_cast<std::size_t>(part().vocabulary.size()));
}

std::span<float> GpuLlamaRunner::host_logits() const {
  return {static_cast<float*>(downloaded_.data()), downloaded_.size() / sizeof(float)};
}

void GpuLlamaRunner::download(std::int32_t row, std::int32_t place) {
  const auto range = static_cast<std::size_t>(part().vocabulary.size());
  const auto to = host_logits().subspan(static_cast<std::size_t>(place) * range, range);
  if (!to.empty()) {
    gpu_.download(std::as_writable_bytes(to), logits_.data() + row * logits_stride_, "logits");
  }
}

void GpuLlamaRunner::run(const Step& step) {
  SegmentSum update = part().embeds() ? embed(step) : SegmentSum{};
  for (std::size_t layer = 0; layer < weights_.layers.size(); ++layer) {
    const GpuLayerWeights& weights = weights_.layers[layer];
    norm(step.rows, nullptr, update, weights.input_norm, normed_.data());
    update = attention_block(step, layer);
    norm(step.rows, nullptr, update, weights.post_attention_norm, normed_.data());
    update = mlp_block(step, layer);
  }
  if (!has_head()) {
    add(step.rows, update);
  } else if (step.wanted > 0) {
    logits(step, update);
  }
}

// Zeros, to which the first norm adds the rows: what a rank has not is zero, so that the sum over
// ranks has the row's bits, and a row's -0 is +0 at any number of ranks.
SegmentSum GpuLlamaRunner::embed(const Step& step) {
  const std::int64_t values = step.rows * config_.hidden_size;
  gpu_.clear(hidden_.data(), static_cast<std::size_t>(values) * sizeof(float), "embedding");
  gpu_.run(
      EmbeddingArgs{.table = reinterpret_cast<const std::uint16_t*>(weights_.embedding.view.tiles),
                    .layout = weights_.embedding.plain ? plain_rows(config_.hidden_size)
                                                       : tiles(config_.hidden_size),
                    .token_ids = step.token_ids,
                    .sampled = sampled_.data(),
                    .begin_token = part().vocabulary.begin,
                    .end_token = part().vocabulary.end,
                    .out = reducer_.segments(kEmbedding, values),
                    .rows = step.rows,
                    .columns = static_cast<std::int32_t>(config_.hidden_size)});
  return reducer_.reduce(kEmbedding, values, "embedding");
}

void GpuLlamaRunner::add(std::int32_t rows, const SegmentSum& update) {
  gpu_.run(RmsNormArgs{.hidden = hidden_.data(),
                       .update = update,
                       .weight = nullptr,
                       .out = nullptr,
                       .row_indices = nullptr,
                       .rows = rows,
                       .columns = static_cast<std::int32_t>(config_.hidden_size),
                       .eps = static_cast<float>(config_.rms_norm_eps)});
}

void GpuLlamaRunner::norm(std::int32_t rows, const std::int32_t* row_indices,
                          const SegmentSum& update, const kernels::device::Allocation& weight,
                          std::uint16_t* out) {
  gpu_.run(RmsNormArgs{.hidden = hidden_.data(),
                       .update = update,
                       .weight = static_cast<const float*>(weight.data()),
                       .out = out,
                       .row_indices = row_indices,
                       .rows = rows,
                       .columns = static_cast<std::int32_t>(config_.hidden_size),
                       .eps = config_.rms_norm_eps});
}

void GpuLlamaRunner::multiply(const GpuMatrix& weights, const std::uint16_t* x,
                              std::int64_t x_columns, std::int32_t rows, const SumPlanArrays& plan,
                              float* out, std::int64_t out_stride, std::int64_t segment_stride) {
  if (weights.view.rows == 0 || rows == 0) return;
  if (PlainProduct* product = plain_product_of(weights)) {
    product->run(x, reinterpret_cast<const std::uint16_t*>(weights.view.tiles), out, rows);
    return;
  }
  gpu_.run(ProductArgs{.weights = weights.view,
                       .x = x,
                       .x_stride = x_columns,
                       .m = rows,
                       .plan = plan.view,
                       .out = out,
                       .row_stride = out_stride,
                       .segment_stride = segment_stride});
}

void GpuLlamaRunner::multiply(const std::vector<GpuMatrix>& weights, const std::uint16_t* x,
                              std::int64_t x_columns, std::int32_t rows, const SumPlanArrays& plan,
                              float* out, std::int64_t out_stride) {
  for (const GpuMatrix& matrix : weights) {
    multiply(matrix, x, x_columns, rows, plan, out, out_stride, 0);
    out += matrix.view.rows;
  }
}

PagedCache GpuLlamaRunner::cache_of(std::size_t layer) const {
  return {.keys = cache_[layer].keys.data(),
          .values = cache_[layer].values.data(),
          .format = options_.kv_format,
          .heads = part().key_value_heads.size(),
          .block_size = options_.block_size,
          .head_dim = static_cast<std::int32_t>(config_.head_dim)};
}

SegmentSum GpuLlamaRunner::attention_block(const Step& step, std::size_t layer) {
  const GpuLayerWeights& weights = weights_.layers[layer];
  const std::int64_t stride = query_columns() + 2 * kv_columns();
  const std::int32_t query_heads = part().query_heads.size();
  multiply(weights.qkv, normed_.data(), config_.hidden_size, step.rows, hidden_plan_, qkv_.data(),
           stride);
  gpu_.run(RopeKvArgs{.q = qkv_.data(),
                      .k = qkv_.data() + query_columns(),
                      .v = qkv_.data() + query_columns() + kv_columns(),
                      .stride = stride,
                      .cos = cos_.data(),
                      .sin = sin_.data(),
                      .places = step.places,
                      .tables = step.tables,
                      .rotated_q = queries_.data(),
                      .cache = cache_of(layer),
                      .rows = step.rows,
                      .query_heads = query_heads});
  attend(step, layer);
  const std::int64_t values = step.rows * config_.hidden_size;
  multiply(weights.o, attended_.data(), query_columns(), step.rows, attention_plan_,
           reducer_.segments(kAttention, values), config_.hidden_size, values);
  return reducer_.reduce(kAttention, values, attention_names_[layer]);
}

void GpuLlamaRunner::attend(const Step& step, std::size_t layer) {
  if (flashinfer_) {
    flashinfer_->run(queries_.data(), cache_of(layer), attended_.data());
    return;
  }
  const std::int32_t query_heads = part().query_heads.size();
  const auto num_runs = static_cast<std::int32_t>(runs_.size());
  const bool chunks_apart =
      step.chunks > 1 && std::int64_t{step.rows} * num_runs < kManyBlocks &&
      attention_part_floats(step.rows, step.chunks, query_heads,
                            static_cast<std::int32_t>(config_.head_dim)) <= parts_of_chunks_.size();
  gpu_.run(AttentionArgs{.q = queries_.data(),
                         .cache = cache_of(layer),
                         .tables = step.tables,
                         .places = step.places,
                         .runs = runs_.data(),
                         .out = attended_.data(),
                         .parts = chunks_apart ? parts_of_chunks_.data() : nullptr,
                         .rows = step.rows,
                         .query_heads = query_heads,
                         .num_runs = num_runs,
                         .chunks = step.chunks,
                         .scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim))});
}

SegmentSum GpuLlamaRunner::mlp_block(const Step& step, std::size_t layer) {
  const GpuLayerWeights& weights = weights_.layers[layer];
  multiply(weights.gate_up, normed_.data(), config_.hidden_size, step.rows, hidden_plan_,
           gate_up_.data(), 2 * inner_columns_);
  gpu_.run(SwigluArgs{.gate = gate_up_.data(),
                      .up = gate_up_.data() + inner_columns_,
                      .stride = 2 * inner_columns_,
                      .out = inner_.data(),
                      .rows = step.rows,
                      .columns = static_cast<std::int32_t>(inner_columns_)});
  const std::int64_t values = step.rows * config_.hidden_size;
  multiply(weights.down, inner_.data(), inner_columns_, step.rows, mlp_plan_,
           reducer_.segments(kMlp, values), config_.hidden_size, values);
  return reducer_.reduce(kMlp, values, mlp_names_[layer]);
}

void GpuLlamaRunner::logits(const Step& step, const SegmentSum& update) {
  norm(step.wanted, step.last_rows, update, weights_.final_norm, last_.data());
  multiply(weights_.output(), last_.data(), config_.hidden_size, step.wanted, hidden_plan_,
           logits_.data(), logits_stride_, 0);
}

}  // namespace lockstep::shard
