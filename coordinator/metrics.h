// What Prometheus sees of one replica. Names and meanings are vLLM's, with the prefix lockstep_.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "comm/message.h"
#include "coordinator/request_times.h"
#include "coordinator/scheduler.h"
#include "coordinator/stop_conditions.h"

namespace lockstep::coordinator {

class Metrics {
 public:
  // `labels`: of lockstep_replica_info, which says how the replica computes.
  explicit Metrics(std::int32_t world_size, const std::map<std::string, std::string>& labels = {});

  // One step is complete. `reports`: by rank; `computed`: it was more than a heartbeat.
  void step_done(const std::vector<comm::StepReport>& reports, bool computed);
  // The coordinator's thread has worked, not waited, for so long.
  void coordinator_worked(double seconds) { coordinator_.Increment(seconds); }
  // A request has its first token, and its prompt is done; `times` is complete up to it.
  void first_token(const RequestTimes& times, std::int32_t num_prompt_tokens);
  void next_token(double seconds_since_last_token);
  // A request has ended after its first token or before it.
  void request_done(const RequestTimes& times, Clock::time_point now, FinishReason reason);
  void client_dropped() { clients_dropped_.Increment(); }

  // The Prometheus text format, with the gauges of the scheduler and of waiting requests as they
  // are now.
  std::string serialize(const Scheduler& scheduler, std::int32_t num_waiting);

 private:
  prometheus::Histogram& histogram(const std::string& name, const std::string& help,
                                   const prometheus::Histogram::BucketBoundaries& buckets);
  prometheus::Counter& counter(const std::string& name, const std::string& help);
  prometheus::Gauge& gauge(const std::string& name, const std::string& help);

  prometheus::Registry registry_;
  prometheus::Gauge& num_requests_running_;
  prometheus::Gauge& num_requests_waiting_;
  prometheus::Gauge& kv_cache_usage_;
  prometheus::Histogram& time_to_first_token_;
  prometheus::Histogram& inter_token_latency_;
  prometheus::Histogram& e2e_request_latency_;
  prometheus::Histogram& request_queue_time_;
  prometheus::Histogram& request_prefill_time_;
  prometheus::Histogram& request_decode_time_;
  prometheus::Histogram& step_;
  prometheus::Counter& prompt_tokens_;
  prometheus::Counter& generation_tokens_;
  prometheus::Counter& num_preemptions_;
  prometheus::Counter& clients_dropped_;
  prometheus::Counter& gpu_rows_on_host_;
  prometheus::Counter& draft_tokens_;
  prometheus::Counter& accepted_tokens_;
  std::vector<prometheus::Counter*> requests_;    // by FinishReason
  std::vector<prometheus::Counter*> shard_wait_;  // by rank
  // Where the time goes. The coordinator's part is beside those of the ranks: it runs meanwhile.
  prometheus::Family<prometheus::Counter>& parts_;
  struct RankParts {
    prometheus::Counter &product, &attention, &all_reduce, &elementwise, &sampling, &waiting;
  };
  std::vector<RankParts> rank_parts_;
  prometheus::Counter& coordinator_;
};

}  // namespace lockstep::coordinator
