// The coordinator's loop: clients' requests to plans, shards' reports to answers.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>
#include <zmq.hpp>

#include "base/trace.h"
#include "comm/client_message.h"
#include "coordinator/admission.h"
#include "coordinator/admission_queue.h"
#include "coordinator/client_outbox.h"
#include "coordinator/client_socket.h"
#include "coordinator/metrics.h"
#include "coordinator/open_requests.h"
#include "coordinator/report_collector.h"
#include "coordinator/scheduler.h"
#include "coordinator/shard_link.h"
#include "coordinator/wake_descriptor.h"
#include "model/chat_template.h"
#include "model/tokenizer.h"

namespace lockstep::coordinator {

struct EngineOptions {
  SchedulerOptions scheduler;
  std::vector<std::string>
      endpoints;  // where clients connect: "tcp://127.0.0.1:5555", "inproc://gateway"
  std::string served_model_name;
  std::string system_fingerprint;  // kernel family and weight format
  std::string version;
  std::map<std::string, std::string> labels;  // of lockstep_replica_info
  std::uint64_t seed = 0;                     // seeds of requests without one are derived from it
  std::uint64_t epoch = 1;                    // the life of the replica
  std::int32_t world_size = 1;
  // Requests beyond the max_num_seqs that can run; one more is refused as "overloaded".
  std::int32_t max_queue = 4096;
  // How long a rank may neither report the oldest step in flight nor say that it works on it.
  std::chrono::milliseconds shard_deadline{60000};
  std::chrono::milliseconds heartbeat_interval{1000};  // between words to shards that wait
  std::chrono::milliseconds client_interval{5000};     // the same, to clients
  std::chrono::milliseconds shutdown_timeout{0};       // that open requests have to end at a stop
};

// One thread runs it; nothing else touches it while it runs.
class Engine {
 public:
  // Binds the endpoints. `chat_template` may be nullptr: the model has none; `tracer` too: no
  // timeline. All that is passed must outlive the engine. Throws Error naming the option that is
  // out of range.
  Engine(EngineOptions options, const model::Tokenizer& tokenizer,
         const model::ChatTemplate* chat_template, std::vector<std::int32_t> eos_token_ids,
         zmq::context_t& context, ShardLink& shards, Tracer* tracer = nullptr);

  // Serves until `stop` is requested. From then on requests are refused as "shutting_down"; those
  // that are open may end within the shutdown timeout, and are told the same after it. Then it
  // waits for the plans in flight, and publishes the last plan. Throws Error when the shards
  // disagree, are late or break the protocol; open requests are told "replica_failed" before. So
  // they are when `failed` is requested, which says that the replica has failed elsewhere: then it
  // returns at once. Those last messages leave the process while the engine is destroyed and its
  // context closed, which takes at most a second.
  void run(std::stop_token stop, std::stop_token failed = {});

  // Where clients can connect, with the ports that were chosen for "tcp://...:*".
  const std::vector<std::string>& endpoints() const { return socket_.endpoints(); }

 private:
  void loop(const std::stop_token& stop, const std::stop_token& failed);
  bool stopping() const { return drain_.has_value(); }
  bool plans_end() const { return stop_deadline_.has_value(); }
  void drain();
  void tell_of_stop();
  TraceSpan span(const char* name) const {
    return TraceSpan(tracer_, {"coordinator", "coordinator", name});
  }
  void wait();
  std::chrono::milliseconds longest_wait() const;

  void receive_client_messages();
  void handle(const std::string& client, comm::GenerateRequest request);
  void handle(const std::string& client, const comm::CancelRequest& request);
  void handle(const std::string& client, const comm::StatusRequest& request);
  void receive_decisions();
  void accept(OpenRequest& open, AdmittedRequest admitted);
  void refuse(const std::string& client, const std::string& id, Fault fault);
  void forget(std::uint64_t sequence_id);
  std::int32_t num_waiting() const;

  void receive_shard_reports();
  void finish_step(const std::vector<comm::StepReport>& reports);
  void deliver(std::span<const ScheduledToken> tokens, Clock::time_point now);
  void record_tokens(OpenRequest& request, std::size_t count, Clock::time_point now);
  void finish_request(const OpenRequest& request, const Finish& finish);
  void record_end(const OpenRequest& request, FinishReason reason);

  void publish_plans();
  // One that each stage of the shards computes, and one that they find waiting when they are done.
  std::size_t max_plans_in_flight() const {
    return static_cast<std::size_t>(options_.scheduler.pipeline_stages) + 1;
  }
  std::optional<comm::StepPlan> schedule();
  void publish(const comm::StepPlan& plan);

  void send_signs_of_life();
  void send_replies();
  void drop_client(const std::string& client);
  void end_all_requests(const Fault& fault);

  EngineOptions options_;
  const model::Tokenizer& tokenizer_;
  ShardLink& shards_;
  Tracer* const tracer_;
  ClientSocket socket_;
  ClientOutbox outbox_;
  WakeDescriptor wake_;  // at a stop, and when a request is admitted or refused
  Admission admission_;
  AdmissionQueue admissions_;
  Scheduler scheduler_;
  ReportCollector reports_;
  Metrics metrics_;
  OpenRequests open_;
  std::uint64_t last_sequence_id_ = 0;
  Clock::time_point last_word_;  // to the shards: a plan, or that one is still to come
  std::uint64_t last_empty_plan_ = 0;
  Clock::time_point next_signs_;  // to clients that have heard nothing for long
  struct Drain {
    std::optional<Clock::time_point> ask_ranks;  // whether they are there, once
    Clock::time_point end;                       // of the time that open requests have
  };
  std::optional<Drain> drain_;  // set: a stop is requested
  // Set: no more plans. From then on open requests are told of it, whatever is in flight.
  std::optional<Clock::time_point> stop_deadline_;
};

}  // namespace lockstep::coordinator
