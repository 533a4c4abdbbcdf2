#include "coordinator/metrics.h"

#include <prometheus/text_serializer.h>

namespace lockstep::coordinator {
namespace {

using Buckets = prometheus::Histogram::BucketBoundaries;

// Seconds.
Buckets request_buckets() {
  return {0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320};
}

Buckets token_buckets() {
  return {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};
}

}  // namespace

Metrics::Metrics(std::int32_t world_size, const std::map<std::string, std::string>& labels)
    : num_requests_running_(gauge("num_requests_running", "Requests in the running batch.")),
      num_requests_waiting_(gauge("num_requests_waiting", "Requests that wait to be scheduled.")),
      kv_cache_usage_(gauge("kv_cache_usage_perc", "KV cache in use; 1 means all of it.")),
      time_to_first_token_(histogram("time_to_first_token_seconds",
                                     "Arrival of a request to its first token.",
                                     request_buckets())),
      inter_token_latency_(
          histogram("inter_token_latency_seconds",
                    "From one token of an answer to the next; of several tokens of a step, "
                    "the mean.",
                    token_buckets())),
      e2e_request_latency_(histogram("e2e_request_latency_seconds",
                                     "Arrival of a request to its end.", request_buckets())),
      request_queue_time_(histogram("request_queue_time_seconds",
                                    "Arrival of a request to its first step.", request_buckets())),
      request_prefill_time_(histogram("request_prefill_time_seconds",
                                      "A request's first step to its first token.",
                                      request_buckets())),
      request_decode_time_(histogram("request_decode_time_seconds",
                                     "A request's first token to its last.", request_buckets())),
      step_(histogram("step_seconds", "One step on rank 0's shard.", token_buckets())),
      prompt_tokens_(counter("prompt_tokens_total", "Tokens of prompts that were prefilled.")),
      generation_tokens_(counter("generation_tokens_total", "Tokens of answers.")),
      num_preemptions_(counter("num_preemptions_total", "Preemptions for want of KV blocks.")),
      clients_dropped_(counter("clients_dropped_total",
                               "Clients that vanished or stopped reading with requests open.")),
      gpu_rows_on_host_(counter("gpu_rows_chosen_on_host_total",
                                "Tokens that hosts have chosen, for want of room on their GPUs.")),
      draft_tokens_(counter("spec_decode_num_draft_tokens_total",
                            "Tokens that were guessed and computed ahead.")),
      accepted_tokens_(counter("spec_decode_num_accepted_tokens_total",
                               "Of them, those that were right: tokens beyond one a step.")),
      parts_(prometheus::BuildCounter()
                 .Name("lockstep_step_part_seconds_total")
                 .Help("Time of a rank's steps by part; waiting is for plans while sequences run.")
                 .Register(registry_)),
      coordinator_(parts_.Add({{"rank", "0"}, {"part", "coordinator"}})) {
  prometheus::BuildGauge()
      .Name("lockstep_replica_info")
      .Help("Always 1: how the replica computes, in its labels.")
      .Register(registry_)
      .Add(labels)
      .Set(1);
  auto& requests = prometheus::BuildCounter()
                       .Name("lockstep_requests_total")
                       .Help("Requests that have ended.")
                       .Register(registry_);
  for (const FinishReason reason :
       {FinishReason::stop, FinishReason::length, FinishReason::abort}) {
    requests_.push_back(&requests.Add({{"finish_reason", to_string(reason)}}));
  }
  auto& waits = prometheus::BuildCounter()
                    .Name("lockstep_shard_wait_seconds_total")
                    .Help("Time a rank has spent in collectives; the straggler has the least.")
                    .Register(registry_);
  for (std::int32_t rank = 0; rank < world_size; ++rank) {
    shard_wait_.push_back(&waits.Add({{"rank", std::to_string(rank)}}));
    const auto part = [&](const char* name) -> prometheus::Counter& {
      return parts_.Add({{"rank", std::to_string(rank)}, {"part", name}});
    };
    rank_parts_.push_back({part("product"), part("attention"), part("all_reduce"),
                           part("elementwise"), part("sampling"), part("waiting")});
  }
}

void Metrics::step_done(const std::vector<comm::StepReport>& reports, bool computed) {
  if (computed) step_.Observe(reports[0].compute_us * 1e-6);
  // The ranks of a stage choose the same tokens, and only those of the last stage choose any.
  gpu_rows_on_host_.Increment(reports.back().rows_on_host);
  draft_tokens_.Increment(reports.back().drafts);
  accepted_tokens_.Increment(reports.back().accepted_drafts);
  for (const comm::StepReport& report : reports) {
    shard_wait_[report.rank]->Increment(report.wait_us * 1e-6);
    const RankParts& parts = rank_parts_[report.rank];
    parts.product.Increment(report.product_us * 1e-6);
    parts.attention.Increment(report.attention_us * 1e-6);
    parts.all_reduce.Increment(report.all_reduce_us * 1e-6);
    parts.elementwise.Increment(report.elementwise_us * 1e-6);
    parts.sampling.Increment(report.sampling_us * 1e-6);
    parts.waiting.Increment(report.plan_wait_us * 1e-6);
  }
}

void Metrics::first_token(const RequestTimes& times, std::int32_t num_prompt_tokens) {
  prompt_tokens_.Increment(num_prompt_tokens);
  generation_tokens_.Increment();
  time_to_first_token_.Observe(seconds_between(times.arrived, *times.first_token));
  request_queue_time_.Observe(seconds_between(times.arrived, *times.first_scheduled));
  request_prefill_time_.Observe(seconds_between(*times.first_scheduled, *times.first_token));
}

void Metrics::next_token(double seconds_since_last_token) {
  generation_tokens_.Increment();
  inter_token_latency_.Observe(seconds_since_last_token);
}

void Metrics::request_done(const RequestTimes& times, Clock::time_point now, FinishReason reason) {
  requests_[static_cast<std::size_t>(reason)]->Increment();
  e2e_request_latency_.Observe(seconds_between(times.arrived, now));
  if (times.first_token) {
    request_decode_time_.Observe(seconds_between(*times.first_token, *times.last_token));
  }
}

std::string Metrics::serialize(const Scheduler& scheduler, std::int32_t num_waiting) {
  num_requests_running_.Set(scheduler.num_running());
  num_requests_waiting_.Set(num_waiting);
  kv_cache_usage_.Set(static_cast<double>(scheduler.blocks().num_used()) /
                      scheduler.blocks().num_blocks());
  num_preemptions_.Increment(static_cast<double>(scheduler.num_preemptions()) -
                             num_preemptions_.Value());
  return prometheus::TextSerializer().Serialize(registry_.Collect());
}

prometheus::Histogram& Metrics::histogram(const std::string& name, const std::string& help,
                                          const Buckets& buckets) {
  return prometheus::BuildHistogram()
      .Name("lockstep_" + name)
      .Help(help)
      .Register(registry_)
      .Add({}, buckets);
}

prometheus::Counter& Metrics::counter(const std::string& name, const std::string& help) {
  return prometheus::BuildCounter().Name("lockstep_" + name).Help(help).Register(registry_).Add({});
}

prometheus::Gauge& Metrics::gauge(const std::string& name, const std::string& help) {
  return prometheus::BuildGauge().Name("lockstep_" + name).Help(help).Register(registry_).Add({});
}

}  // namespace lockstep::coordinator
