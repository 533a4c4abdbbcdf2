// The forward pass of Llama and its like on one rank's GPU. Plain C++ over kernels/cuda/gpu.h.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "comm/gpu_exchange.h"
#include "kernels/cuda/gpu.h"
#include "model/config.h"
#include "shard/gpu/array.h"
#include "shard/gpu/fa3.h"
#include "shard/gpu/flashinfer.h"
#include "shard/gpu/lane_reduce.h"
#include "shard/gpu/progress_marks.h"
#include "shard/gpu/runner_sizes.h"
#include "shard/gpu/stage_stream.h"
#include "shard/gpu/step_upload.h"
#include "shard/gpu/weights.h"
#include "shard/model_runner.h"
#include "shard/partition.h"
#include "shard/pipeline_place.h"
#include "shard/token_selection.h"

namespace lockstep::shard {

// A step's logits on the device: rows `stride` apart, of this rank's tokens.
struct GpuLogits {
  float* values = nullptr;
  std::int64_t stride = 0;
  std::int32_t rows = 0;  // of the sequences that want them, in order
};

// What is done with a step's logits.
struct GpuStepTail {
  std::function<void(const GpuLogits& logits)> put_in_line;  // none: nothing
  // Not 0: it may be part of a recording, for what it puts in line follows from this number and
  // that of the rows.
  std::int32_t recordable_as = 0;
};

// RMSNorm, rotary embedding, grouped-query attention, SwiGLU (shard/llama.h), the layers of a
// pipeline stage on the ranks of the exchange. Products, sums between ranks and attention keep the
// order of their sums at any number of rows and ranks (kernels/README.md): so do the logits their
// bits.
//
// Steps of one token a sequence are padded to some numbers of rows and recorded, at their second
// time: a recording holds for a range of lengths. Padding rows are a sequence of their own in a
// block that no plan knows. They do not cross to another stage, which pads steps by itself; what is
// recorded there lies between the arrival of the residual stream and its departure.
class GpuLlamaRunner final : public ModelRunner {
 public:
  // `weights` of the place's layers, for the rank of the exchange, which joins the ranks of the
  // stage. All buffers but the KV cache are allocated here. GPU, exchange and the place's links
  // must outlive it. Throws Error when there is no room, with the pool's table, and when weights,
  // layers and neighbours do not suit each other.
  GpuLlamaRunner(const model::ModelConfig& config, GpuWeights weights,
                 const GpuRunnerOptions& options, kernels::cuda::Gpu& gpu,
                 comm::GpuExchange& exchange, const PipelinePlace& place = {});

  // The KV cache, once, before the first step: its blocks are [0, num_blocks). Whoever asks knows
  // by then how much memory is left. Throws Error when there is no room.
  void allocate_cache(std::int32_t num_blocks);

  // Begins a step: checks and lays out the batch. Throws Error naming the limit that it is beyond.
  void begin(std::span<const ForwardSequence> batch);
  // For more that the step uploads, between begin() and launch().
  StepUpload& step_upload() { return upload_; }
  // Of the step: rows of logits, with those of padding behind the others; whether its shape is one
  // that is recorded.
  std::int32_t logit_rows() const { return step_.wanted; }
  bool may_be_recorded() const { return recorded_step_; }
  // Puts the whole step in line, then `tail`, and waits for nothing on the GPU: only for the
  // activations of the stage before. A stage that is not the last waits for the step, sends the
  // activations on and returns no rows.
  GpuLogits launch(const GpuStepTail& tail = {});
  // What the last step has chosen, row by row; written by the tail. Tokens of the next step may
  // refer to it (ForwardSequence::sampled_row).
  ScoredToken* sampled() const { return sampled_.data(); }
  // Whether this is the last stage, which has logits.
  bool has_head() const { return part().has_head(config_); }
  // Puts the download of a row of the step's logits in line, to row `place` of host_logits().
  void download(std::int32_t row, std::int32_t place);
  // [max_sequences, this rank's tokens], pinned.
  std::span<float> host_logits() const;
  // Waits until everything in line is done, or what is before a mark, and learns whether the other
  // ranks came.
  void wait(const char* what);
  void wait(kernels::cuda::Mark& mark, const char* what);
  // From now on `tell` is called when a wait, or the launch of a step, sees that the GPU has come
  // further in a step that takes long.
  void tell_progress(std::function<void()> tell) { tell_progress_ = std::move(tell); }

  // All of it: begin, launch, download, wait. Nothing is waited for where no logits are wanted and
  // nothing is sent on.
  std::span<float> forward(std::span<const ForwardSequence> batch) override;
  VocabRange vocab_range() const override {
    return {part().vocabulary.begin, part().vocabulary.end};
  }
  // Of every rank of the stage.
  std::vector<VocabRange> vocab_ranges() const { return shard::vocab_ranges(parts_); }
  std::int64_t logits_stride() const { return sizes_.logits_stride; }

  std::size_t weight_bytes() const { return weights_.bytes(); }
  std::int32_t recordings() const { return recorded_; }

 private:
  // The addresses and sizes that a step's kernels are launched with.
  struct Step {
    std::int32_t rows = 0;
    std::int32_t wanted = 0;  // rows of logits
    std::int32_t chunks = 1;  // of attention: those of the longest row, or more
    const std::int32_t* token_ids = nullptr;
    const kernels::cuda::RowPlace* places = nullptr;
    kernels::cuda::BlockTables tables = {};
    const std::int32_t* last_rows = nullptr;  // null: all rows
    bool takes_long = false;                  // there are marks between its layers
  };
  // What all steps that a recording is for have in common.
  struct Shape {
    std::int32_t rows;
    std::int32_t chunks;
    std::int32_t items;  // of attention by FlashInfer
    std::int32_t tail;   // recordable_as
    auto operator<=>(const Shape&) const = default;
  };
  struct SumPlanArrays {
    GpuArray<kernels::cuda::Leaf> leaves;
    GpuArray<std::int32_t> lanes;
    GpuArray<kernels::cuda::Addition> additions;
    GpuArray<std::int32_t> level_ends, segments;
    kernels::cuda::SumPlan view = {};
  };
  struct LayerCache {
    kernels::device::Allocation keys, values;
  };
  const Partition& part() const { return parts_[static_cast<std::size_t>(exchange_.rank())]; }
  SumPlanArrays sum_plan(const kernels::cuda::HostSumPlan& plan);

  bool decodes(std::span<const ForwardSequence> batch) const;
  void check(std::span<const ForwardSequence> batch) const;
  void lay_out(std::span<const ForwardSequence> batch, std::int32_t table_stride);
  // Whether the step's recording has, or may get, the tail in it.
  bool can_hold(const GpuStepTail& tail) const;
  // What to launch in place of `work`, the step's; nullptr: nothing is recorded for it.
  kernels::cuda::Recording* recording_of_step(const std::function<void()>& work);
  // hidden_ of the step from the stage before; of padding rows zeros.
  void receive_hidden();
  void run(const Step& step);
  // Whether the GPU has come further; throws as GpuLaneReducer::check() does.
  bool look();
  LaneSum embed(const Step& step);
  LaneSum attention_block(const Step& step, std::size_t layer);
  LaneSum mlp_block(const Step& step, std::size_t layer);
  void logits(const Step& step, const LaneSum& update);
  // hidden_ += update, of all rows.
  void add(std::int32_t rows, const LaneSum& update);
  void norm(std::int32_t rows, const std::int32_t* row_indices, const LaneSum& update,
            const kernels::device::Allocation& weight, std::uint16_t* out);
  void run_norm(kernels::cuda::RmsNormArgs args, const LaneSum& update);
  void make_plain_products();
  kernels::cuda::PlainProduct* plain_product_of(const GpuMatrix& weights) const;
  // x * W^T, the matrices' rows side by side in rows of `out`. `ahead`: what is multiplied next.
  void multiply(const std::vector<GpuMatrix>& weights, const std::uint16_t* x,
                std::int64_t x_columns, std::int32_t rows, const SumPlanArrays& plan, float* out,
                std::int64_t out_stride, const GpuMatrix& ahead);
  void multiply(const GpuMatrix& weights, const std::uint16_t* x, std::int64_t x_columns,
                std::int32_t rows, const SumPlanArrays& plan, float* out, std::int64_t out_stride,
                std::int64_t segment_stride, const GpuMatrix* ahead);
  // inner_ of normed_, by gate's and up's rows by turns.
  void multiply_activated(const GpuMatrix& weights, std::int32_t rows, const GpuMatrix& ahead);
  kernels::cuda::WeightsAhead ahead_of(const GpuMatrix* next) const;
  void attend(const Step& step, std::size_t layer);
  kernels::cuda::PagedCache cache_of(std::size_t layer) const;

  const model::ModelConfig config_;
  const GpuRunnerOptions options_;
  kernels::cuda::Gpu& gpu_;
  comm::GpuExchange& exchange_;
  const PipelinePlace place_;
  const std::vector<Partition> parts_;  // of the stage's ranks
  const GpuWeights weights_;
  const GpuRunnerSizes sizes_;
  GpuLaneReducer reducer_;
  // Of plain weights, by their rows: they all have hidden_size columns.
  std::unique_ptr<kernels::cuda::PlainProducts> plain_products_;
  std::map<std::int32_t, std::unique_ptr<kernels::cuda::PlainProduct>> plain_by_rows_;
  SumPlanArrays hidden_plan_, attention_plan_, mlp_plan_;
  GpuArray<float> cos_, sin_;
  GpuArray<kernels::cuda::HeadRun> runs_;
  std::vector<LayerCache> cache_;
  std::int32_t num_blocks_ = 0;
  std::vector<std::string> attention_names_, mlp_names_;  // of the layers' exchanges

  GpuArray<float> hidden_;            // [tokens, hidden_size]: the residual stream
  GpuArray<std::uint16_t> normed_;    // [tokens, hidden_size]
  GpuArray<float> qkv_;               // [tokens, q's columns, then k's, then v's]
  GpuArray<std::uint16_t> queries_;   // [tokens, q's columns]
  GpuArray<std::uint16_t> attended_;  // the same
  GpuArray<float> parts_of_chunks_;   // of attention by the own kernel
  GpuArray<float> gate_up_;           // [tokens, gate's columns, then up's]; empty: all activate
  GpuArray<std::uint16_t> inner_;     // [tokens, inner columns]
  GpuArray<std::uint16_t> last_;      // [sequences, hidden_size]: rows whose logits are wanted
  GpuArray<float> logits_;            // [sequences, logits_stride]
  GpuArray<ScoredToken> sampled_;     // [sequences]
  kernels::device::Allocation downloaded_;

  std::optional<FlashInferAttention> flashinfer_;
  std::optional<Fa3Attention> fa3_;
  StepUpload upload_;
  GpuStageStream stream_;
  ProgressMarks marks_;
  std::function<void()> tell_progress_;  // empty: nobody is told
  Step step_;
  Shape shape_{};
  bool recorded_step_ = false;
  std::int32_t batch_rows_ = 0;  // of the step, without padding
  std::int32_t wanted_ = 0;      // of the step, without padding
  std::map<Shape, std::unique_ptr<kernels::cuda::Recording>> recordings_;  // nullptr: seen once
  std::int32_t recorded_ = 0;
};

// Rows that a decoding step of `rows` sequences is padded to: 1, 2, 4, then multiples of 8; at most
// `most`.
std::int32_t padded_rows(std::int32_t rows, std::int32_t most);

}  // namespace lockstep::shard
