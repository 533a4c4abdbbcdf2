#include "shard/llama.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.h"
#include "kernels/flush_denormals.h"
#include "shard/lane_programs.h"

namespace lockstep::shard {
namespace {

std::vector<std::string> layer_names(Range layers, const char* block) {
  std::vector<std::string> names;
  for (std::int32_t i = layers.begin; i < layers.end; ++i) {
    names.push_back("layer " + std::to_string(i) + " " + block);
  }
  return names;
}

}  // namespace

LlamaRunner::LlamaRunner(const model::Model& model, const RunnerOptions& options,
                         comm::Communicator& communicator, kernels::ThreadPool& pool,
                         const kernels::cpu::KernelTable& kernels, StepTimes& times,
                         const PipelinePlace& place)
    : config_(model.config),
      options_(options),
      communicator_(&communicator),
      pool_(&pool),
      kernels_(&kernels),
      compute_{&pool, &kernels, options.activations},
      times_(&times),
      place_(place),
      parts_(partition_model(config_, communicator.size(), stage_layers(config_, place))),
      attention_reducer_(lane_trees(config_).attention, lane_runs(parts_, &Partition::query_heads),
                         communicator, pool, kernels,
                         options.max_batch_tokens * config_.hidden_size),
      mlp_reducer_(lane_trees(config_).mlp, lane_runs(parts_, &Partition::mlp_lanes), communicator,
                   pool, kernels, options.max_batch_tokens * config_.hidden_size),
      weights_(load_weights(model, part(), pool, {options.activations, kernels.bf16_layout},
                            options.weight_cache)),
      cache_(config_, part(), options.kv_format, options.block_size, options.num_blocks, pool),
      attention_(config_, part(), options.max_positions, pool, kernels),
      rope_(config_, options.max_positions),
      attention_lanes_(attention_program(config_, part())),
      mlp_lanes_(mlp_program(config_, part())),
      hidden_sum_(kernels::whole_sum(config_.hidden_size)),
      attention_names_(layer_names(part().layers, "attention")),
      mlp_names_(layer_names(part().layers, "mlp")),
      hidden_(options.max_batch_tokens, config_.hidden_size),
      normed_(options.max_batch_tokens, config_.hidden_size, /*has_wide_groups=*/true),
      projected_(options.max_batch_tokens, qkv_columns(config_, part())),
      attended_(options.max_batch_tokens, part().query_heads.size() * config_.head_dim),
      inner_(options.max_batch_tokens, inner_columns(config_, part())),
      last_(options.max_logits, config_.hidden_size, /*has_wide_groups=*/true),
      gathered_(communicator.size() > 1
                    ? static_cast<std::size_t>(options.max_batch_tokens * config_.hidden_size) *
                          sizeof(float)
                    : 0),
      logits_(static_cast<std::size_t>(options.max_logits * weights_.output().row_blocks() *
                                       kernels::kRowBlock) *
              sizeof(float)) {}

ReducerMemory LlamaRunner::activation_bytes() const {
  const ReducerMemory attention = attention_reducer_.memory(), mlp = mlp_reducer_.memory();
  std::size_t own = attention.own + mlp.own + attention_.bytes() + rope_.bytes() +
                    gathered_.size() + logits_.size();
  for (const Activations* rows : {&hidden_, &normed_, &projected_, &attended_, &inner_, &last_}) {
    own += rows->bytes();
  }
  return {.own = own, .shared = attention.shared + mlp.shared};
}

std::span<float> LlamaRunner::forward(std::span<const ForwardSequence> batch) {
  const kernels::FlushDenormals flush_denormals;
  lay_out(batch);
  if (rows_.empty()) return {};
  attention_.lay_out(batch);
  place_.previous == nullptr ? embed() : receive_hidden();
  std::optional<ReducedSum> update;
  for (std::size_t layer = 0; layer < weights_.layers.size(); ++layer) {
    const TraceSpan span =
        times_->span("layer", static_cast<std::uint64_t>(part().layers.begin) + layer);
    const LayerWeights& weights = weights_.layers[layer];
    add_and_norm(update, weights.input_norm, compute_.rounded_forms(weights.qkv));
    project_and_store(batch, layer);
    const bool is_last = place_.next == nullptr && layer + 1 == weights_.layers.size();
    if (is_last && last_rows_.size() < rows_.size()) {
      keep_last_rows(batch);
      batch = last_tokens_;
      if (batch.empty()) return {};
    }
    update = attention_block(batch, layer);
    add_and_norm(update, weights.post_attention_norm,
                 compute_.rounded_forms({&weights.gate_up, &weights.up_rows()}));
    update = mlp_block(layer);
  }
  if (place_.next == nullptr) return logits(*update);
  send_hidden(*update);
  return {};
}

// Lists the batch's rows.
void LlamaRunner::lay_out(std::span<const ForwardSequence> batch) {
  rows_.clear();
  last_rows_.clear();
  for (std::size_t s = 0; s < batch.size(); ++s) {
    const auto sequence = static_cast<std::int32_t>(s);
    const auto first_row = static_cast<std::int32_t>(rows_.size());
    const auto count = static_cast<std::int32_t>(batch[s].token_ids.size());
    if (batch[s].first_position + count > options_.max_positions) {
      throw Error("position " + std::to_string(batch[s].first_position + count - 1) +
                  " is beyond max_positions " + std::to_string(options_.max_positions));
    }
    for (std::int32_t i = 0; i < count; ++i) {
      rows_.push_back(
          {batch[s].token_ids[static_cast<std::size_t>(i)], batch[s].first_position + i, sequence});
    }
    for (std::int32_t i = count - batch[s].num_logits; i < count; ++i) {
      last_rows_.push_back(first_row + i);
    }
  }
  if (tokens() > options_.max_batch_tokens || std::ssize(last_rows_) > options_.max_logits) {
    throw Error("a batch of " + std::to_string(tokens()) + " tokens, " +
                std::to_string(last_rows_.size()) + " of them with logits: the limits are " +
                std::to_string(options_.max_batch_tokens) + " and " +
                std::to_string(options_.max_logits));
  }
}

kernels::ActivationFormat LlamaRunner::activations() const {
  return compute_.activations(weights_.layers.front().gate_up);
}

// Every rank looks up the tokens of its own vocabulary rows; all gather all.
void LlamaRunner::embed() {
  const StepTimes::Phase phase(*times_, Part::elementwise, "embedding");
  const std::int64_t hidden_size = config_.hidden_size;
  const auto owner = [this](const Row& row, const Partition& part) {
    return part.vocabulary.begin <= row.token && row.token < part.vocabulary.end;
  };
  const bool alone = communicator_->size() == 1;
  std::vector<std::int64_t> mine;
  for (std::int64_t row = 0; row < tokens(); ++row) {
    if (owner(rows_[static_cast<std::size_t>(row)], part())) mine.push_back(row);
  }
  // normed_ is free at this point: it holds the rows that this rank sends.
  Activations& own = alone ? hidden_ : normed_;
  pool_->for_ranges(std::ssize(mine), [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
    for (std::ptrdiff_t i = begin; i < end; ++i) {
      const Row& row = rows_[static_cast<std::size_t>(mine[static_cast<std::size_t>(i)])];
      weights_.embedding.get_row(row.token - part().vocabulary.begin,
                                 {own.row(i), static_cast<std::size_t>(hidden_size)});
    }
  });
  if (alone) return;
  const std::size_t row_bytes = static_cast<std::size_t>(hidden_size) * sizeof(float);
  std::vector<std::size_t> counts(parts_.size());
  std::vector<std::size_t> owners;
  for (const Row& row : rows_) {
    const auto at =
        std::ranges::find_if(parts_, [&](const auto& part) { return owner(row, part); });
    owners.push_back(static_cast<std::size_t>(at - parts_.begin()));
    counts[owners.back()] += row_bytes;
  }
  auto* all = gathered_.as<std::byte>();
  communicator_->all_gather(
      std::as_bytes(std::span(own.row(0), mine.size() * static_cast<std::size_t>(hidden_size))),
      {all, rows_.size() * row_bytes}, counts, "embedding");
  std::vector<std::size_t> next(parts_.size());
  for (std::size_t r = 1; r < parts_.size(); ++r) next[r] = next[r - 1] + counts[r - 1];
  for (std::int64_t row = 0; row < tokens(); ++row) {
    std::size_t& from = next[owners[static_cast<std::size_t>(row)]];
    std::memcpy(hidden_.row(row), all + from, row_bytes);
    from += row_bytes;
  }
}

void LlamaRunner::receive_hidden() {
  const StepTimes::Phase phase(*times_, Part::all_reduce, "activations from the stage before");
  const std::span hidden(hidden_.row(0), static_cast<std::size_t>(tokens() * config_.hidden_size));
  place_.previous->receive(std::as_writable_bytes(hidden));
}

void LlamaRunner::send_hidden(const ReducedSum& update) {
  const StepTimes::Phase phase(*times_, Part::elementwise, "activations to the next stage");
  const std::int64_t columns = config_.hidden_size;
  pool_->for_ranges(tokens(), [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
    for (std::ptrdiff_t row = begin; row < end; ++row) {
      float* hidden = hidden_.row(row);
      kernels_->add(hidden, update.piece(row * columns, columns, normed_.row(row)), columns,
                    hidden);
    }
  });
  place_.next->send(
      std::as_bytes(std::span(hidden_.row(0), static_cast<std::size_t>(tokens() * columns))));
}

void LlamaRunner::add_and_norm(const std::optional<ReducedSum>& update,
                               const std::vector<float>& weight, RoundedForms forms) {
  const StepTimes::Phase phase(*times_, Part::elementwise, "norm");
  const std::int64_t columns = config_.hidden_size;
  for_rows(*pool_, tokens(), forms, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      float* hidden = hidden_.row(row);
      float* normed = normed_.row(row);
      if (update)
        kernels_->add(hidden, update->piece(row * columns, columns, normed), columns, hidden);
      kernels_->rms_norm(hidden, weight.data(), config_.rms_norm_eps, columns, normed);
    }
    normed_.round(*kernels_, forms, begin, end);
  });
}

void LlamaRunner::product(const char* name, const Activations& x, std::int64_t rows,
                          const kernels::LaneProgram& lanes, std::span<const Product> products) {
  const StepTimes::Phase phase(*times_, Part::product, name);
  multiply(compute_, x, rows, lanes, products);
}

void LlamaRunner::project_and_store(std::span<const ForwardSequence> batch, std::size_t layer) {
  const LayerWeights& weights = weights_.layers[layer];
  std::array<Product, 3> projections;
  std::size_t count = 0;
  float* out = projected_.row(0);
  for (const kernels::PackedMatrix& matrix : weights.qkv) {
    projections[count++] = {&matrix, out, projected_.columns()};
    out += matrix.rows();
  }
  product("qkv product", normed_, tokens(), hidden_sum_, std::span(projections).first(count));
  rotate_and_store(batch, layer);
}

// All that the last layer gives for other tokens than these are keys and values.
void LlamaRunner::keep_last_rows(std::span<const ForwardSequence> batch) {
  const StepTimes::Phase phase(*times_, Part::elementwise, "last rows");
  last_tokens_.clear();
  for (const ForwardSequence& sequence : batch) {
    if (sequence.num_logits == 0) continue;
    ForwardSequence& last = last_tokens_.emplace_back(sequence);
    last.token_ids = sequence.token_ids.last(static_cast<std::size_t>(sequence.num_logits));
    last.first_position +=
        static_cast<std::int32_t>(sequence.token_ids.size()) - sequence.num_logits;
  }
  for (std::size_t i = 0; i < last_rows_.size(); ++i) {
    const auto from = last_rows_[i], to = static_cast<std::int64_t>(i);
    rows_[i] = rows_[static_cast<std::size_t>(from)];
    std::copy_n(hidden_.row(from), hidden_.columns(), hidden_.row(to));
    std::copy_n(projected_.row(from), projected_.columns(), projected_.row(to));
    last_rows_[i] = to;
  }
  rows_.resize(last_rows_.size());
  attention_.lay_out(last_tokens_);
}

ReducedSum LlamaRunner::attention_block(std::span<const ForwardSequence> batch, std::size_t layer) {
  const LayerWeights& weights = weights_.layers[layer];
  attend(batch, layer);
  const std::int64_t values = tokens() * config_.hidden_size;
  const Product output[] = {
      {&weights.o, attention_reducer_.segments(values), config_.hidden_size, values}};
  product("o product", attended_, tokens(), attention_lanes_, output);
  const StepTimes::Phase phase(*times_, Part::all_reduce, "all-reduce");
  return attention_reducer_.reduce(values, attention_names_[layer]);
}

void LlamaRunner::rotate_and_store(std::span<const ForwardSequence> batch, std::size_t layer) {
  const StepTimes::Phase phase(*times_, Part::elementwise, "rope and kv store");
  const LayerWeights& weights = weights_.layers[layer];
  const std::int64_t head_dim = config_.head_dim;
  const std::int32_t block_size = cache_.block_size();
  const std::int64_t queries = part().query_heads.size() * head_dim;
  const std::int64_t keys = part().key_value_heads.size() * head_dim;
  const auto turn = [&](float* head, const std::vector<float>& norm, const Row& row) {
    if (!norm.empty()) {
      kernels_->rms_norm(head, norm.data(), config_.rms_norm_eps, head_dim, head);
    }
    kernels_->rope(head, rope_.cos(row.position), rope_.sin(row.position), head_dim);
  };
  pool_->for_ranges(tokens(), [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
    for (std::ptrdiff_t r = begin; r < end; ++r) {
      const Row& row = rows_[static_cast<std::size_t>(r)];
      float* const query = projected_.row(r);
      if (!weights.qkv_bias.empty()) {
        kernels_->add(query, weights.qkv_bias.data(), projected_.columns(), query);
      }
      for (std::int32_t head = 0; head < part().query_heads.size(); ++head) {
        turn(query + head * head_dim, weights.query_norm, row);
      }
      const auto& table = batch[static_cast<std::size_t>(row.sequence)].block_table;
      const std::int64_t block = table[static_cast<std::size_t>(row.position / block_size)];
      const std::int64_t tile = row.position % block_size / kernels::kKvTile *
                                kernels::kv_tile_bytes(cache_.format(), head_dim);
      for (std::int32_t head = 0; head < part().key_value_heads.size(); ++head) {
        float* key = query + queries + head * head_dim;
        turn(key, weights.key_norm, row);
        std::byte* key_tile = cache_.keys(static_cast<std::int64_t>(layer), head) +
                              block * cache_.block_stride() + tile;
        kernels_->store_kv(cache_.format(), key, key + keys, head_dim, key_tile,
                           key_tile + cache_.value_offset(), row.position % kernels::kKvTile);
      }
    }
  });
}

void LlamaRunner::attend(std::span<const ForwardSequence> batch, std::size_t layer) {
  const StepTimes::Phase phase(*times_, Part::attention, "attention");
  attention_.run(batch, cache_, static_cast<std::int64_t>(layer), projected_, attended_,
                 compute_.rounded_forms({&weights_.layers[layer].o}));
}

ReducedSum LlamaRunner::mlp_block(std::size_t layer) {
  const LayerWeights& weights = weights_.layers[layer];
  {
    const StepTimes::Phase phase(*times_, Part::product, "gate/up product");
    multiply_swiglu(compute_, normed_, tokens(), hidden_sum_, weights.gate_up, weights.up_rows(),
                    weights.down, inner_);
  }
  const std::int64_t values = tokens() * config_.hidden_size;
  const Product output[] = {
      {&weights.down, mlp_reducer_.segments(values), config_.hidden_size, values}};
  product("down product", inner_, tokens(), mlp_lanes_, output);
  const StepTimes::Phase phase(*times_, Part::all_reduce, "all-reduce");
  return mlp_reducer_.reduce(values, mlp_names_[layer]);
}

void LlamaRunner::norm_last_rows(const ReducedSum& update) {
  const StepTimes::Phase phase(*times_, Part::elementwise, "norm");
  const std::int64_t columns = config_.hidden_size;
  const auto wanted = std::ssize(last_rows_);
  for (std::ptrdiff_t i = 0; i < wanted; ++i) {
    const std::int64_t row = last_rows_[static_cast<std::size_t>(i)];
    float* hidden = hidden_.row(row);
    kernels_->add(hidden, update.piece(row * columns, columns, last_.row(i)), columns, hidden);
    kernels_->rms_norm(hidden, weights_.final_norm.data(), config_.rms_norm_eps, columns,
                       last_.row(i));
  }
  last_.round(*kernels_, compute_.rounded_forms({&weights_.output()}), 0, wanted);
}

std::span<float> LlamaRunner::logits(const ReducedSum& update) {
  const auto wanted = std::ssize(last_rows_);
  if (wanted == 0) return {};
  norm_last_rows(update);
  auto* out = logits_.as<float>();
  const std::int64_t padded = weights_.output().row_blocks() * kernels::kRowBlock;
  const Product head[] = {{&weights_.output(), out, padded}};
  product("head product", last_, wanted, hidden_sum_, head);
  const std::int64_t range = part().vocabulary.size();
  for (std::ptrdiff_t i = 1; i < wanted && padded != range; ++i) {
    std::memmove(out + i * range, out + i * padded,
                 static_cast<std::size_t>(range) * sizeof(float));
  }
  return {out, static_cast<std::size_t>(wanted * range)};
}

}  // namespace lockstep::shard
