// The forward pass of Llama and its like (model/family.h) on one rank.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "kernels/cpu_family.h"
#include "kernels/thread_pool.h"
#include "model/model.h"
#include "shard/activations.h"
#include "shard/attention.h"
#include "shard/kv_cache.h"
#include "shard/lane_reduce.h"
#include "shard/model_runner.h"
#include "shard/partition.h"
#include "shard/pipeline_place.h"
#include "shard/rope_table.h"
#include "shard/step_times.h"
#include "shard/weights.h"

namespace lockstep::shard {

struct RunnerOptions {
  kernels::KvFormat kv_format = kernels::KvFormat::bf16;
  std::int32_t block_size = 16;
  std::int32_t num_blocks = 0;
  std::int32_t max_batch_tokens = 512;  // tokens of all sequences of a step
  std::int32_t max_logits = 64;         // of them, those that want logits
  std::int32_t max_positions = 0;       // longest sequence
  ActivationChoice activations = {};
  std::string weight_cache = {};  // a folder (weight_cache.h); empty: none
};

// RMSNorm, rotary embedding, grouped-query attention, SwiGLU. References: Touvron et al.,
// arXiv:2302.13971; Hugging Face's modeling_llama.py.
class LlamaRunner final : public ModelRunner {
 public:
  // `communicator` joins the ranks of the stage.
  LlamaRunner(const model::Model& model, const RunnerOptions& options,
              comm::Communicator& communicator, kernels::ThreadPool& pool,
              const kernels::cpu::KernelTable& kernels, StepTimes& times,
              const PipelinePlace& place = {});

  // Of a stage that is not the last: sends the activations on and returns nothing.
  std::span<float> forward(std::span<const ForwardSequence> batch) override;
  VocabRange vocab_range() const override {
    return {part().vocabulary.begin, part().vocabulary.end};
  }

  std::size_t weight_bytes() const { return weights_.bytes(); }
  // Everything but the weights and the KV cache: this rank's buffers, and what the ranks of a host
  // share (rank_memory.h).
  ReducerMemory activation_bytes() const;
  // What the products into the first layer's MLP make of activations.
  kernels::ActivationFormat activations() const;
  // Whether the ranks sum activations in shared memory, without copies.
  bool sums_in_place() const { return attention_reducer_.in_place() && mlp_reducer_.in_place(); }

 private:
  // Where one row of the batch belongs.
  struct Row {
    std::int32_t token;
    std::int32_t position;
    std::int32_t sequence;
  };
  const Partition& part() const { return parts_[static_cast<std::size_t>(communicator_->rank())]; }
  void lay_out(std::span<const ForwardSequence> batch);
  // hidden_ from the tokens, or from the stage before.
  void embed();
  void receive_hidden();
  // hidden_ + update to the next stage.
  void send_hidden(const ReducedSum& update);
  // The layer's queries, and its keys and values in the cache.
  void project_and_store(std::span<const ForwardSequence> batch, std::size_t layer);
  // Leaves of the batch, of rows_ and of what was computed for them the rows whose logits are
  // wanted: last_tokens_, laid out anew.
  void keep_last_rows(std::span<const ForwardSequence> batch);
  // Each returns what is to be added to the residual stream, [tokens, hidden_size].
  ReducedSum attention_block(std::span<const ForwardSequence> batch, std::size_t layer);
  ReducedSum mlp_block(std::size_t layer);
  // hidden += update (where there is one); normed = rms_norm(hidden) * weight.
  void add_and_norm(const std::optional<ReducedSum>& update, const std::vector<float>& weight,
                    RoundedForms forms);
  // A product of the step: multiply(), timed.
  void product(const char* name, const Activations& x, std::int64_t rows,
               const kernels::LaneProgram& lanes, std::span<const Product> products);
  void rotate_and_store(std::span<const ForwardSequence> batch, std::size_t layer);
  void attend(std::span<const ForwardSequence> batch, std::size_t layer);
  // last_ = the final norm of the rows whose logits are wanted.
  void norm_last_rows(const ReducedSum& update);
  std::span<float> logits(const ReducedSum& update);

  std::int64_t tokens() const { return static_cast<std::int64_t>(rows_.size()); }

  const model::ModelConfig config_;
  const RunnerOptions options_;
  comm::Communicator* communicator_;
  kernels::ThreadPool* pool_;
  const kernels::cpu::KernelTable* kernels_;
  const Compute compute_;
  StepTimes* times_;
  const PipelinePlace place_;
  std::vector<Partition> parts_;
  // Before the weights: ranks meet here, within a deadline, and load at their own pace then.
  LaneReducer attention_reducer_, mlp_reducer_;
  Weights weights_;
  KvCache cache_;
  Attention attention_;
  RopeTable rope_;
  kernels::LaneProgram attention_lanes_, mlp_lanes_, hidden_sum_;
  std::vector<std::string> attention_names_, mlp_names_;  // of the layers' collectives

  std::vector<Row> rows_;
  std::vector<std::int64_t> last_rows_;       // of the sequences that want logits
  std::vector<ForwardSequence> last_tokens_;  // the batch without all other tokens
  Activations hidden_;                        // [tokens, hidden_size]: the residual stream
  Activations normed_;                        // [tokens, hidden_size]
  Activations projected_;  // [tokens, query heads, keys and values of this rank, head_dim each]
  Activations attended_;   // [tokens, query heads * head_dim]
  Activations inner_;      // [tokens, inner columns of this rank]
  Activations last_;       // [sequences, hidden_size]: rows whose logits are wanted
  kernels::AlignedBuffer gathered_;  // embeddings from all ranks
  kernels::AlignedBuffer logits_;
};

}  // namespace lockstep::shard
