#include "shard/gpu/llama.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/error.h"
#include "shard/rope_table.h"

namespace lockstep::shard {
namespace {

using namespace kernels::cuda;

constexpr char kActivations[] = "activations";
// Blocks that keep a large GPU busy: with fewer rows, each chunk of a row's keys has a block.
constexpr std::int64_t kManyBlocks = 4 * 132;

// Of prompts, which nobody waits for, that many are in line at most (StepUpload).
constexpr std::size_t kStepsInLine = 3;

enum Tree : std::size_t { kEmbedding, kAttention, kMlp };

std::vector<std::string> layer_names(Range layers, const char* block) {
  std::vector<std::string> names;
  for (std::int32_t i = layers.begin; i < layers.end; ++i) {
    names.push_back("layer " + std::to_string(i) + " " + block);
  }
  return names;
}

const GpuRunnerOptions& checked(const GpuRunnerOptions& options, const model::ModelConfig& config,
                                const GpuWeights& weights, const Gpu& gpu,
                                const PipelinePlace& place) {
  if (options.block_size < 16 || options.block_size % 16 != 0) {
    throw Error("block_size is " + std::to_string(options.block_size) +
                ": it must be a multiple of 16");
  }
  if (options.warpgroups && !gpu.has_warpgroups()) {
    throw Error("products by warpgroups: they need a Hopper GPU, and a build for sm_90a");
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
      options_(checked(options, config, weights, gpu, place)),
      gpu_(gpu),
      exchange_(exchange),
      place_(place),
      parts_(partition_model(config, exchange.size(), stage_layers(config, place))),
      weights_(std::move(weights)),
      sizes_(config, parts_, exchange.rank(), options,
             !std::ranges::all_of(weights_.layers, &GpuLayerWeights::activates)),
      reducer_(gpu, exchange, sizes_.trees, sizes_.reduce),
      hidden_plan_(sum_plan(sizes_.hidden_plan)),
      attention_plan_(sum_plan(sizes_.attention_plan)),
      mlp_plan_(sum_plan(sizes_.mlp_plan)),
      runs_(upload_array<HeadRun>(gpu, "tables", sizes_.runs)),
      attention_names_(layer_names(part().layers, "attention")),
      mlp_names_(layer_names(part().layers, "mlp")),
      hidden_(gpu, kActivations, sizes_.hidden),
      normed_(gpu, kActivations, sizes_.normed),
      qkv_(gpu, kActivations, sizes_.qkv),
      queries_(gpu, kActivations, sizes_.queries),
      attended_(gpu, kActivations, sizes_.attended),
      parts_of_chunks_(gpu, "attention's chunks", sizes_.attention_chunks),
      gate_up_(gpu, kActivations, sizes_.gate_up),
      inner_(gpu, kActivations, sizes_.inner),
      last_(gpu, kActivations, sizes_.last),
      logits_(gpu, "logits", sizes_.logits),
      sampled_(gpu, "choice of tokens", sizes_.sampled),
      downloaded_(gpu.pinned_memory().allocate(
          "logits", static_cast<std::size_t>(sizes_.downloaded) * sizeof(float))),
      upload_(gpu, sizes_.upload, [this](Mark& copied) { wait(copied, "an earlier step"); }),
      stream_(gpu, place, sizes_.stage_values,
              [this](Mark& copied, const char* what) { wait(copied, what); }),
      marks_(gpu, kStepsInLine * static_cast<std::size_t>(part().layers.size())) {
  if (sizes_.flashinfer) flashinfer_.emplace(gpu, *sizes_.flashinfer);
  if (options.attention == AttentionBackend::fa3) fa3_.emplace(gpu, part().query_heads.size());
  const RopeTable rope(config, options.max_positions);
  const auto angles = static_cast<std::size_t>(sizes_.angles);
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

// Cleared: FlashInfer multiplies what lies behind a sequence's end by zero.
void GpuLlamaRunner::allocate_cache(std::int32_t num_blocks) {
  num_blocks_ = num_blocks;
  // One block more than plans know, for padding rows.
  const auto layers = static_cast<std::size_t>(part().layers.size());
  const std::size_t half =
      gpu_kv_block_bytes(config_, part(), options_.kv_format, options_.block_size) / (2 * layers) *
      static_cast<std::size_t>(num_blocks + 1);
  for (std::size_t layer = 0; layer < layers; ++layer) {
    const LayerCache& cache = cache_.emplace_back(LayerCache{
        gpu_.memory().allocate("KV cache", half), gpu_.memory().allocate("KV cache", half)});
    gpu_.clear(cache.keys.data(), half, "KV cache");
    gpu_.clear(cache.values.data(), half, "KV cache");
  }
}

GpuLlamaRunner::SumPlanArrays GpuLlamaRunner::sum_plan(const HostSumPlan& plan) {
  SumPlanArrays arrays{upload_array<Leaf>(gpu_, "tables", plan.leaves),
                       upload_array<std::int32_t>(gpu_, "tables", plan.lanes),
                       upload_array<Addition>(gpu_, "tables", plan.additions),
                       upload_array<std::int32_t>(gpu_, "tables", plan.level_ends),
                       upload_array<std::int32_t>(gpu_, "tables", plan.segments)};
  arrays.view = {arrays.leaves.data(),
                 arrays.lanes.data(),
                 arrays.additions.data(),
                 arrays.level_ends.data(),
                 arrays.segments.data(),
                 static_cast<std::int32_t>(plan.leaves.size()),
                 static_cast<std::int32_t>(plan.lanes.size()) - 1,
                 static_cast<std::int32_t>(plan.level_ends.size()),
                 static_cast<std::int32_t>(plan.segments.size()),
                 plan.depth};
  return arrays;
}

GpuLogits GpuLlamaRunner::launch(const GpuStepTail& tail) {
  if (step_.rows == 0) return {};
  upload_.send();
  if (place_.previous != nullptr) receive_hidden();
  const auto put_tail = [&] {
    if (tail.put_in_line) tail.put_in_line({logits_.data(), logits_stride(), step_.wanted});
  };
  shape_.tail = recorded_step_ && can_hold(tail) ? tail.recordable_as : 0;
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
  if (place_.next == nullptr) return {logits_.data(), logits_stride(), wanted_};
  stream_.send(hidden_.data(), batch_rows_ * config_.hidden_size);
  return {};
}

// When nothing is recorded any more, a recording of the step without its tail is better than none.
bool GpuLlamaRunner::can_hold(const GpuStepTail& tail) const {
  if (recorded_ < options_.max_recordings) return true;
  Shape shape = shape_;
  shape.tail = tail.recordable_as;
  const auto found = recordings_.find(shape);
  return found != recordings_.end() && found->second != nullptr;
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
  exchange_.wait(what, [this] { return look(); });
  gpu_.synchronize(what);
}

void GpuLlamaRunner::wait(Mark& mark, const char* what) {
  exchange_.wait(mark, what, [this] { return look(); });
}

bool GpuLlamaRunner::look() {
  reducer_.check();
  const bool moved = marks_.moved();
  if (moved && tell_progress_) tell_progress_();
  return moved;
}

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
    gpu_.download(std::as_writable_bytes(to), logits_.data() + row * sizes_.logits_stride,
                  "logits");
  }
}

void GpuLlamaRunner::run(const Step& step) {
  LaneSum update = part().embeds() ? embed(step) : LaneSum{};
  for (std::size_t layer = 0; layer < weights_.layers.size(); ++layer) {
    const GpuLayerWeights& weights = weights_.layers[layer];
    norm(step.rows, nullptr, update, weights.input_norm, normed_.data());
    update = attention_block(step, layer);
    norm(step.rows, nullptr, update, weights.post_attention_norm, normed_.data());
    update = mlp_block(step, layer);
    if (!step.takes_long) continue;
    marks_.set();
    look();
  }
  if (!has_head()) {
    add(step.rows, update);
  } else if (step.wanted > 0) {
    logits(step, update);
  }
}

// Zeros, to which the first norm adds the rows: what a rank has not is zero, so that the sum over
// ranks has the row's bits, and a row's -0 is +0 at any number of ranks.
LaneSum GpuLlamaRunner::embed(const Step& step) {
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
                    .out = reducer_.segments(kEmbedding, step.rows),
                    .rows = step.rows,
                    .columns = static_cast<std::int32_t>(config_.hidden_size)});
  return reducer_.reduce(kEmbedding, step.rows, "embedding");
}

void GpuLlamaRunner::add(std::int32_t rows, const LaneSum& update) {
  run_norm({.hidden = hidden_.data(),
            .update = {},
            .weight = nullptr,
            .out = nullptr,
            .row_indices = nullptr,
            .rows = rows,
            .columns = static_cast<std::int32_t>(config_.hidden_size),
            .eps = config_.rms_norm_eps},
           update);
}

void GpuLlamaRunner::norm(std::int32_t rows, const std::int32_t* row_indices, const LaneSum& update,
                          const kernels::device::Allocation& weight, std::uint16_t* out) {
  run_norm({.hidden = hidden_.data(),
            .update = {},
            .weight = static_cast<const float*>(weight.data()),
            .out = out,
            .row_indices = row_indices,
            .rows = rows,
            .columns = static_cast<std::int32_t>(config_.hidden_size),
            .eps = config_.rms_norm_eps},
           update);
}

void GpuLlamaRunner::run_norm(RmsNormArgs args, const LaneSum& update) {
  if (update.peers) return gpu_.run(PeerNormArgs{args, *update.peers});
  args.update = update.gathered;
  gpu_.run(args);
}

void GpuLlamaRunner::multiply(const GpuMatrix& weights, const std::uint16_t* x,
                              std::int64_t x_columns, std::int32_t rows, const SumPlanArrays& plan,
                              float* out, std::int64_t out_stride, std::int64_t segment_stride,
                              const GpuMatrix* ahead) {
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
                       .segment_stride = segment_stride,
                       .ahead = ahead_of(ahead),
                       .warpgroups = options_.warpgroups});
}

WeightsAhead GpuLlamaRunner::ahead_of(const GpuMatrix* next) const {
  if (next == nullptr || next->plain) return {};
  return weights_ahead(next->view, options_.weights_ahead);
}

void GpuLlamaRunner::multiply_activated(const GpuMatrix& weights, std::int32_t rows,
                                        const GpuMatrix& ahead) {
  if (weights.view.rows == 0 || rows == 0) return;
  gpu_.run(ProductArgs{.weights = weights.view,
                       .x = normed_.data(),
                       .x_stride = config_.hidden_size,
                       .m = rows,
                       .plan = hidden_plan_.view,
                       .out = nullptr,
                       .row_stride = 0,
                       .segment_stride = 0,
                       .activated = inner_.data(),
                       .ahead = ahead_of(&ahead),
                       .warpgroups = options_.warpgroups});
}

void GpuLlamaRunner::multiply(const std::vector<GpuMatrix>& weights, const std::uint16_t* x,
                              std::int64_t x_columns, std::int32_t rows, const SumPlanArrays& plan,
                              float* out, std::int64_t out_stride, const GpuMatrix& ahead) {
  for (std::size_t i = 0; i < weights.size(); ++i) {
    multiply(weights[i], x, x_columns, rows, plan, out, out_stride, 0,
             i + 1 < weights.size() ? &weights[i + 1] : &ahead);
    out += weights[i].view.rows;
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

LaneSum GpuLlamaRunner::attention_block(const Step& step, std::size_t layer) {
  const GpuLayerWeights& weights = weights_.layers[layer];
  const std::int64_t stride = sizes_.query_columns + 2 * sizes_.kv_columns;
  const std::int32_t query_heads = part().query_heads.size();
  multiply(weights.qkv, normed_.data(), config_.hidden_size, step.rows, hidden_plan_, qkv_.data(),
           stride, weights.o);
  gpu_.run(RopeKvArgs{.q = qkv_.data(),
                      .k = qkv_.data() + sizes_.query_columns,
                      .v = qkv_.data() + sizes_.query_columns + sizes_.kv_columns,
                      .stride = stride,
                      .cos = cos_.data(),
                      .sin = sin_.data(),
                      .places = step.places,
                      .tables = step.tables,
                      .rotated_q = queries_.data(),
                      .cache = cache_of(layer),
                      .rows = step.rows,
                      .query_heads = query_heads,
                      .bias = static_cast<const float*>(weights.qkv_bias.data()),
                      .query_norm = static_cast<const float*>(weights.query_norm.data()),
                      .key_norm = static_cast<const float*>(weights.key_norm.data()),
                      .eps = config_.rms_norm_eps});
  attend(step, layer);
  const std::int64_t values = step.rows * config_.hidden_size;
  multiply(weights.o, attended_.data(), sizes_.query_columns, step.rows, attention_plan_,
           reducer_.segments(kAttention, step.rows), config_.hidden_size, values,
           &weights.gate_up.front());
  return reducer_.reduce(kAttention, step.rows, attention_names_[layer]);
}

void GpuLlamaRunner::attend(const Step& step, std::size_t layer) {
  if (flashinfer_) return flashinfer_->run(queries_.data(), cache_of(layer), attended_.data());
  if (fa3_) return fa3_->run(queries_.data(), cache_of(layer), attended_.data());
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

LaneSum GpuLlamaRunner::mlp_block(const Step& step, std::size_t layer) {
  const GpuLayerWeights& weights = weights_.layers[layer];
  if (weights.activates()) {
    multiply_activated(weights.gate_up[0], step.rows, weights.down);
  } else {
    multiply(weights.gate_up, normed_.data(), config_.hidden_size, step.rows, hidden_plan_,
             gate_up_.data(), 2 * sizes_.inner_columns, weights.down);
    gpu_.run(SwigluArgs{.gate = gate_up_.data(),
                        .up = gate_up_.data() + sizes_.inner_columns,
                        .stride = 2 * sizes_.inner_columns,
                        .out = inner_.data(),
                        .rows = step.rows,
                        .columns = static_cast<std::int32_t>(sizes_.inner_columns)});
  }
  const std::int64_t values = step.rows * config_.hidden_size;
  const GpuMatrix* ahead = layer + 1 < weights_.layers.size()
                               ? &weights_.layers[layer + 1].qkv.front()
                           : has_head() ? &weights_.output()
                                        : nullptr;
  multiply(weights.down, inner_.data(), sizes_.inner_columns, step.rows, mlp_plan_,
           reducer_.segments(kMlp, step.rows), config_.hidden_size, values, ahead);
  return reducer_.reduce(kMlp, step.rows, mlp_names_[layer]);
}

void GpuLlamaRunner::logits(const Step& step, const LaneSum& update) {
  norm(step.wanted, step.last_rows, update, weights_.final_norm, last_.data());
  multiply(weights_.output(), last_.data(), config_.hidden_size, step.wanted, hidden_plan_,
           logits_.data(), sizes_.logits_stride, 0, nullptr);
}

}  // namespace lockstep::shard
