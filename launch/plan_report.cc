#include "launch/plan_report.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <ostream>

#include "launch/bytes_text.h"
#include "launch/model_shape.h"

namespace lockstep::launch {
namespace {

using shard::MemoryPlan;

const char* kv_name(const shard::StepSizes& sizes) {
  if (sizes.gpu_cache == kernels::cuda::CacheFormat::e4m3) return "fp8";
  return sizes.kv_format == kernels::KvFormat::bf16 ? "bf16" : "int8";
}

std::string verdict(const MemoryPlan& plan) {
  return plan.fits() ? "fits, " + bytes_text(plan.margin()) + " to spare"
                     : "does not fit, by " + bytes_text(-plan.margin());
}

std::string split(const MemoryPlan& plan) {
  return plan.pipeline == 1 ? fmt::format("{}", plan.tensor_parallel)
                            : fmt::format("{} x {}", plan.tensor_parallel, plan.pipeline);
}

std::vector<std::string> suggestion_lines(const PlanReport& report) {
  const MemoryPlan& last = report.plans.back();
  const shard::Suggestions& found = report.suggestions;
  const std::string at = fmt::format(" at --tp {}", last.tensor_parallel);
  std::vector<std::string> lines;
  if (found.tensor_parallel) {
    lines.push_back(fmt::format("--tp {} with these weights", *found.tensor_parallel));
  }
  if (report.hosts > 0) {
    lines.push_back(fmt::format("{} hosts like this one, with a rank on each", report.hosts));
  }
  if (found.weights) lines.push_back("weights in " + name(*found.weights) + at);
  if (found.max_model_len) {
    lines.push_back(fmt::format("--max-model-len {}", *found.max_model_len) + at);
  }
  return lines;
}

template <class T>
nlohmann::ordered_json or_null(const std::optional<T>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
}

}  // namespace

bool PlanReport::any_fits() const { return std::ranges::any_of(plans, &MemoryPlan::fits); }

void print_table(std::ostream& out, const PlanReport& report) {
  const model::ModelConfig& config = report.outline.config;
  out << fmt::format("{}: {}, {} layers, {} heads, {} key-value heads\n", report.heading.path,
                     report.outline.architecture, config.num_hidden_layers,
                     config.num_attention_heads, config.num_key_value_heads)
      << fmt::format("weights {}, KV cache {} in blocks of {} positions\n", report.heading.weights,
                     kv_name(report.sizes), report.sizes.block_size)
      << fmt::format("{}: {}\n", report.heading.device, report.heading.memory)
      << fmt::format("max-model-len {}, max-num-seqs {}, max-num-batched-tokens {}\n\n",
                     report.sizes.max_positions, report.sizes.max_sequences,
                     report.sizes.max_batch_tokens);
  constexpr const char* kRow = "{:>7}{:>11}{:>13}{:>9}{:>11}{:>11}{:>10}{:>9}{:>11}{}\n";
  const bool one_stage = report.plans.front().pipeline == 1;
  out << fmt::format(kRow, one_stage ? "tp" : "tp x pp", "weights", "activations", "reserve",
                     "KV/token", "KV/block", "KV left", "tokens", "sequences", "");
  for (const MemoryPlan& plan : report.plans) {
    out << fmt::format(kRow, split(plan), bytes_text(plan.weights), bytes_text(plan.activations),
                       bytes_text(plan.limits.reserve),
                       bytes_text(plan.kv_block / static_cast<std::size_t>(plan.block_size)),
                       bytes_text(plan.kv_block),
                       bytes_text(std::max<std::int64_t>(plan.kv_cache, 0)),
                       std::max<std::int64_t>(plan.kv_tokens(), 0),
                       std::max<std::int64_t>(plan.sequences(), 0), "  " + verdict(plan));
  }
  if (report.any_fits()) return;
  const auto lines = suggestion_lines(report);
  out << (lines.empty() ? "\nNothing that this plan knows to change would make it fit.\n"
                        : "\nWould fit:\n");
  for (const std::string& line : lines) out << "  " << line << "\n";
}

void print_json(std::ostream& out, const PlanReport& report) {
  using nlohmann::ordered_json;
  ordered_json plans = ordered_json::array();
  for (const MemoryPlan& plan : report.plans) {
    plans.push_back({{"tensor_parallel_size", plan.tensor_parallel},
                     {"pipeline_parallel_size", plan.pipeline},
                     {"memory_bytes", plan.limits.memory},
                     {"weight_bytes", plan.weights},
                     {"activation_bytes", plan.activations},
                     {"reserve_bytes", plan.limits.reserve},
                     {"kv_block_bytes", plan.kv_block},
                     {"kv_cache_bytes", std::max<std::int64_t>(plan.kv_cache, 0)},
                     {"kv_cache_tokens", std::max<std::int64_t>(plan.kv_tokens(), 0)},
                     {"sequences", std::max<std::int64_t>(plan.sequences(), 0)},
                     {"fits", plan.fits()},
                     {"margin_bytes", plan.margin()}});
  }
  const shard::Suggestions& found = report.suggestions;
  ordered_json report_json{
      {"model", report.heading.path},
      {"architecture", report.outline.architecture},
      {"weights", report.heading.weights},
      {"device", report.heading.device},
      {"device_memory_bytes", report.heading.memory_bytes},
      {"kv_cache_dtype", kv_name(report.sizes)},
      {"block_size", report.sizes.block_size},
      {"max_model_len", report.sizes.max_positions},
      {"max_num_seqs", report.sizes.max_sequences},
      {"max_num_batched_tokens", report.sizes.max_batch_tokens},
      {"fits", report.any_fits()},
      {"plans", std::move(plans)},
      {"suggestions",
       {{"tensor_parallel_size", or_null(found.tensor_parallel)},
        {"hosts", report.hosts > 0 ? ordered_json(report.hosts) : ordered_json()},
        {"weights", found.weights ? ordered_json(name(*found.weights)) : ordered_json()},
        {"max_model_len", or_null(found.max_model_len)}}}};
  out << report_json.dump(2) << "\n";
}

}  // namespace lockstep::launch
