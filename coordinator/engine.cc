#include "coordinator/engine.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>
#include <utility>

#include "base/error.h"
#include "comm/client_codec.h"

namespace lockstep::coordinator {
namespace {

// How long messages are received before the shards get their turn.
constexpr std::chrono::milliseconds kReceiveTime(20);
// How long the plans in flight may take at a stop before open requests are told of it.
constexpr std::chrono::milliseconds kStopPatience(300);

Fault overloaded(std::string message) { return {"overloaded", std::move(message), ""}; }

}  // namespace

Engine::Engine(EngineOptions options, const model::Tokenizer& tokenizer,
               const model::ChatTemplate* chat_template, std::vector<std::int32_t> eos_token_ids,
               zmq::context_t& context, ShardLink& shards, Tracer* tracer)
    : options_(std::move(options)),
      tokenizer_(tokenizer),
      shards_(shards),
      tracer_(tracer),
      socket_(context, options_.endpoints),
      outbox_(socket_),
      admission_(options_.scheduler, tokenizer, chat_template, std::move(eos_token_ids),
                 options_.seed),
      admissions_(admission_, wake_),
      scheduler_(options_.scheduler, options_.epoch),
      reports_(options_.world_size, options_.epoch, options_.shard_deadline,
               options_.scheduler.pipeline_stages),
      metrics_(options_.world_size, options_.labels) {}

void Engine::run(std::stop_token stop, std::stop_token failed) {
  // What failed is for the operator; it leaves with the exception, or is known to the caller.
  const Fault fault{"replica_failed", "the replica has failed; the request can be repeated", ""};
  try {
    loop(stop, failed);
  } catch (const std::exception&) {
    end_all_requests(fault);
    throw;
  }
  end_all_requests(fault);
}

void Engine::loop(const std::stop_token& stop, const std::stop_token& failed) {
  const auto wake = [this] { wake_.wake(); };
  const std::stop_callback on_stop(stop, wake), on_failure(failed, wake);
  for (;;) {
    if (failed.stop_requested()) return;
    if (stop.stop_requested()) drain();
    if (plans_end()) tell_of_stop();
    if (plans_end() && reports_.num_in_flight() == 0) break;
    wait();
    const Clock::time_point woke = Clock::now();
    wake_.drain();
    receive_client_messages();
    receive_decisions();
    receive_shard_reports();
    publish_plans();
    send_signs_of_life();
    send_replies();
    metrics_.coordinator_worked(seconds_between(woke, Clock::now()));
  }
  shards_.publish(scheduler_.empty_plan(/*shutdown=*/true));
}

// Lets open requests end by themselves for a while. A launcher ends all ranks with the same signal
// when one of them has died: a plan tells.
void Engine::drain() {
  if (plans_end()) return;
  const Clock::time_point now = Clock::now();
  if (!drain_) {
    drain_ = Drain{now + kStopPatience, now + options_.shutdown_timeout};
    if (open_.size() > 0 && options_.shutdown_timeout.count() > 0) {
      spdlog::info("stopping: {} requests may end within {} s", open_.size(),
                   std::chrono::duration<double>(options_.shutdown_timeout).count());
    }
  }
  if (open_.size() == 0 || now >= drain_->end) {
    stop_deadline_ = now + kStopPatience;
  } else if (drain_->ask_ranks && now >= *drain_->ask_ranks) {
    drain_->ask_ranks.reset();
    if (reports_.num_in_flight() > 0) publish(scheduler_.empty_plan(/*shutdown=*/false));
  }
}

// Requests are told of a stop only when plans come back, or at least go out.
void Engine::tell_of_stop() {
  if (open_.size() == 0) return;
  if (reports_.num_in_flight() > 0) {
    if (Clock::now() < *stop_deadline_) return;
    publish(scheduler_.empty_plan(/*shutdown=*/false));
  }
  end_all_requests(comm::shutting_down());
}

// ---- Waiting ----

void Engine::wait() {
  const TraceSpan traced = span("waiting");
  std::array<zmq::pollitem_t, 3> items = {{{socket_.pollable().handle(), 0, ZMQ_POLLIN, 0},
                                           {shards_.pollable().handle(), 0, ZMQ_POLLIN, 0},
                                           {nullptr, wake_.get(), ZMQ_POLLIN, 0}}};
  try {
    zmq::poll(items, longest_wait());
  } catch (const zmq::error_t& error) {
    if (error.num() != EINTR) throw;  // a signal: there is nothing to read, and no harm in looking
  }
}

// Until the next word to the shards is due, a rank late, or requests must be told of a stop.
std::chrono::milliseconds Engine::longest_wait() const {
  const Clock::time_point now = Clock::now();
  Clock::duration left = reports_.num_in_flight() > 0
                             ? reports_.deadline() - reports_.longest_silence(now)
                             : last_word_ + options_.heartbeat_interval - now;
  if (open_.size() > 0) {
    if (stop_deadline_) {
      left = std::min(left, *stop_deadline_ - now);
    } else if (drain_) {
      left = std::min(left, drain_->ask_ranks.value_or(drain_->end) - now);
    }
  }
  // Rounded up: waking just before the time would be of no use.
  const auto milliseconds = std::chrono::ceil<std::chrono::milliseconds>(left);
  return std::clamp(milliseconds, std::chrono::milliseconds(0), options_.heartbeat_interval);
}

// ---- Clients ----

void Engine::receive_client_messages() {
  const TraceSpan traced = span("receive requests");
  const Clock::time_point end = Clock::now() + kReceiveTime;
  do {
    const std::optional<ClientFrame> frame = socket_.receive();
    if (!frame) return;
    const std::string& client = frame->identity;
    const std::span<const std::byte> bytes(static_cast<const std::byte*>(frame->body.data()),
                                           frame->body.size());
    Result<comm::ClientMessage> message = comm::decode_client_message(bytes);
    if (message) {
      std::visit([&](auto& m) { handle(client, std::move(m)); }, *message);
    } else {
      refuse(client, comm::readable_id(bytes), message.fault());
    }
  } while (Clock::now() < end);
}

void Engine::handle(const std::string& client, comm::GenerateRequest request) {
  const std::string id = request.id;
  if (stopping()) return refuse(client, id, comm::shutting_down());
  if (open_.find(client, id) != nullptr) {
    return refuse(client, id,
                  {"invalid_request_error", "id names a request that is still open", "id"});
  }
  // Those that will run with the next plan take no place of the queue.
  if (open_.size() >= static_cast<std::size_t>(options_.max_queue) +
                          static_cast<std::size_t>(options_.scheduler.max_num_seqs)) {
    return refuse(
        client, id,
        overloaded("all " + std::to_string(options_.max_queue) + " places of the queue are taken"));
  }
  const std::uint64_t sequence_id = ++last_sequence_id_;
  if (!admissions_.add(std::move(request), sequence_id)) {
    return refuse(client, id,
                  overloaded("requests of " + std::to_string(AdmissionQueue::kMaxBytes >> 20) +
                             " MiB wait to be tokenized"));
  }
  OpenRequest open;
  open.sequence_id = sequence_id;
  open.client = client;
  open.id = id;
  open.times.arrived = Clock::now();
  open_.add(std::move(open));
}

void Engine::receive_decisions() {
  const TraceSpan traced = span("admit");
  while (std::optional<AdmissionQueue::Decision> decision = admissions_.take()) {
    OpenRequest* open = open_.find(decision->sequence_id);
    if (open == nullptr) continue;  // it was cancelled meanwhile
    if (decision->request) {
      accept(*open, std::move(*decision->request));
    } else {
      refuse(open->client, open->id, decision->request.fault());
      open_.remove(decision->sequence_id);
    }
  }
}

void Engine::accept(OpenRequest& open, AdmittedRequest admitted) {
  Request& request = admitted.request;
  outbox_.add(open.client, open.id,
              comm::Accepted{open.id, request.prompt_token_ids, request.sampling.seed});
  open.num_prompt_tokens = static_cast<std::int32_t>(request.prompt_token_ids.size());
  open.answer.emplace(tokenizer_, std::move(admitted.answer));
  open.last_message = Clock::now();
  scheduler_.add(std::move(request));
}

void Engine::handle(const std::string& client, const comm::CancelRequest& request) {
  const OpenRequest* open = open_.find(client, request.id);
  if (open == nullptr) return;  // it has ended already, and the client has been told how
  forget(open->sequence_id);
  finish_request(*open, {FinishReason::abort, "", false});
}

void Engine::handle(const std::string& client, const comm::StatusRequest& request) {
  comm::StatusReply reply;
  reply.id = request.id;
  reply.healthy =
      !stopping() && reports_.longest_silence(Clock::now()) <= options_.shard_deadline / 2;
  reply.stopping = stopping();
  reply.model = options_.served_model_name;
  reply.version = options_.version;
  reply.system_fingerprint = options_.system_fingerprint;
  reply.world_size = options_.world_size;
  reply.epoch = options_.epoch;
  reply.steps = reports_.num_completed();
  reply.running = scheduler_.num_running();
  reply.waiting = num_waiting();
  reply.blocks_total = scheduler_.blocks().num_blocks();
  reply.blocks_used = scheduler_.blocks().num_used();
  reply.max_model_len = options_.scheduler.max_model_len;
  if (request.metrics) reply.metrics = metrics_.serialize(scheduler_, num_waiting());
  outbox_.add(client, request.id, reply);
}

// Those that are not tokenized yet as well.
std::int32_t Engine::num_waiting() const {
  return static_cast<std::int32_t>(open_.size()) - scheduler_.num_running();
}

// REQUIRES: its end is told to its client.
void Engine::forget(std::uint64_t sequence_id) {
  admissions_.cancel(sequence_id);
  scheduler_.cancel(sequence_id);
}

void Engine::refuse(const std::string& client, const std::string& id, Fault fault) {
  outbox_.add(client, id, comm::ErrorReply{id, std::move(fault)});
}

// ---- Shards ----

void Engine::receive_shard_reports() {
  const TraceSpan traced = span("receive reports");
  while (std::optional<comm::StepReport> report = shards_.receive()) {
    if (const auto step = reports_.add(std::move(*report), Clock::now())) finish_step(*step);
  }
  reports_.check_deadline(Clock::now());
}

void Engine::finish_step(const std::vector<comm::StepReport>& reports) {
  const TraceSpan traced = span("deliver");
  metrics_.step_done(reports, /*computed=*/reports[0].sequence_number != last_empty_plan_);
  const Clock::time_point now = Clock::now();
  const comm::StepReport& with_tokens =
      reports[static_cast<std::size_t>(reports_.first_rank_of_last_stage())];
  const std::vector<ScheduledToken> tokens = scheduler_.apply(with_tokens);
  for (auto begin = tokens.begin(); begin != tokens.end();) {
    const auto end = std::find_if(begin, tokens.end(), [&](const ScheduledToken& token) {
      return token.token.sequence_id != begin->token.sequence_id;
    });
    deliver({begin, end}, now);
    begin = end;
  }
}

// What a step has brought of one request: up to a stop string, of which the scheduler knows
// nothing.
void Engine::deliver(std::span<const ScheduledToken> tokens, Clock::time_point now) {
  OpenRequest& request = *open_.find(tokens.front().token.sequence_id);
  comm::Delta delta;
  delta.id = request.id;
  std::optional<Finish> finish;
  for (const ScheduledToken& token : tokens) {
    finish = request.answer->push(token.token, token.finish, delta);
    if (finish) break;
  }
  record_tokens(request, delta.token_ids.size(), now);
  outbox_.add(request.client, request.id, delta);
  if (!finish) return;
  if (!tokens.back().finish) scheduler_.cancel(request.sequence_id);
  finish_request(request, *finish);
}

// The tokens of a step share the time since the last one; beside a first token, others take none.
void Engine::record_tokens(OpenRequest& request, std::size_t count, Clock::time_point now) {
  RequestTimes& times = request.times;
  double seconds = 0.0;
  if (times.first_token) {
    seconds = seconds_between(*times.last_token, now) / static_cast<double>(count);
  } else {
    times.first_token = now;
    metrics_.first_token(times, request.num_prompt_tokens);
    --count;
  }
  for (; count > 0; --count) metrics_.next_token(seconds);
  times.last_token = request.last_message = now;
}

// REQUIRES: the scheduler knows the request no longer.
void Engine::finish_request(const OpenRequest& request, const Finish& finish) {
  comm::Done done;
  done.id = request.id;
  done.finish_reason = to_string(finish.reason);
  done.stop_reason = finish.stop_reason;
  done.usage.prompt_tokens = request.num_prompt_tokens;
  done.usage.completion_tokens = request.answer ? request.answer->num_tokens() : 0;
  done.timings = request.times.timings();
  done.system_fingerprint = options_.system_fingerprint;
  outbox_.add(request.client, request.id, done);
  record_end(request, finish.reason);
  open_.remove(request.sequence_id);
}

void Engine::record_end(const OpenRequest& request, FinishReason reason) {
  metrics_.request_done(request.times, Clock::now(), reason);
}

// ---- Plans ----

void Engine::publish_plans() {
  while (!plans_end() && reports_.num_in_flight() < max_plans_in_flight()) {
    const std::optional<comm::StepPlan> plan = schedule();
    if (!plan) break;
    publish(*plan);
  }
  if (Clock::now() - last_word_ < options_.heartbeat_interval) return;
  if (reports_.num_in_flight() > 0) {
    // A step takes long, and who has done its part of it waits for the next plan.
    shards_.reassure();
    last_word_ = Clock::now();
  } else if (!plans_end()) {
    // A rank that is stuck is to be noticed when there is nothing to do, too.
    publish(scheduler_.empty_plan(/*shutdown=*/false));
  }
}

std::optional<comm::StepPlan> Engine::schedule() {
  const TraceSpan traced = span("schedule");
  return scheduler_.schedule();
}

void Engine::publish(const comm::StepPlan& plan) {
  const TraceSpan traced = span("publish");
  shards_.publish(plan);
  const Clock::time_point now = Clock::now();
  last_word_ = now;
  if (plan.entries.empty()) last_empty_plan_ = plan.sequence_number;
  reports_.expect(plan.sequence_number, now);
  for (const comm::SequenceStart& start : plan.starts) {
    RequestTimes& times = open_.find(start.sequence_id)->times;
    if (!times.first_scheduled) times.first_scheduled = now;
  }
}

// ---- Replies ----

// ZeroMQ tells that a client has gone only when something is sent to it.
void Engine::send_signs_of_life() {
  const Clock::time_point now = Clock::now();
  if (now < next_signs_) return;
  next_signs_ = now + options_.client_interval / 4;
  for (const std::uint64_t sequence_id : open_.all()) {
    OpenRequest& request = *open_.find(sequence_id);
    if (!request.answer || now - request.last_message < options_.client_interval) continue;
    request.last_message = now;
    comm::Delta nothing;
    nothing.id = request.id;
    outbox_.add(request.client, request.id, nothing);
  }
}

void Engine::send_replies() {
  const TraceSpan traced = span("send replies");
  for (const std::string& client : outbox_.flush()) drop_client(client);
}

// Ends the requests of a client that takes no answers.
void Engine::drop_client(const std::string& client) {
  const std::vector<std::uint64_t> requests = open_.of_client(client);
  if (requests.empty()) return;
  spdlog::warn("a client has vanished or does not read: {} of its requests are dropped",
               requests.size());
  metrics_.client_dropped();
  for (const std::uint64_t sequence_id : requests) {
    const OpenRequest& request = *open_.find(sequence_id);
    forget(sequence_id);
    finish_request(request, {FinishReason::abort, "", false});
  }
}

void Engine::end_all_requests(const Fault& fault) {
  for (const std::uint64_t sequence_id : open_.all()) {
    const OpenRequest& request = *open_.find(sequence_id);
    forget(sequence_id);
    refuse(request.client, request.id, fault);
    record_end(request, FinishReason::abort);
    open_.remove(sequence_id);
  }
  outbox_.flush();
}

}  // namespace lockstep::coordinator
