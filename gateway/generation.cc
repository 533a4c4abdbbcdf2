#include "gateway/generation.h"

namespace lockstep::gateway {
namespace {

// About what a reply takes in memory.
std::size_t weight(const comm::ServerMessage& message) {
  std::size_t bytes = sizeof(Generation::Reply);
  if (const auto* delta = std::get_if<comm::Delta>(&message)) {
    bytes += delta->text.size() + delta->token_ids.size() * sizeof(std::int32_t);
    for (const comm::DeltaToken& token : delta->logprobs) {
      bytes += sizeof(token) + token.top.size() * sizeof(comm::TokenDetail);
    }
  }
  return bytes;
}

bool ends(const comm::ServerMessage& message) {
  return std::holds_alternative<comm::Done>(message) ||
         std::holds_alternative<comm::ErrorReply>(message);
}

// What only a broken backend sends: the answer has a hole, or was cut by nobody's wish.
std::optional<Fault> fault_of(const comm::Done& done, std::int64_t num_tokens) {
  if (done.finish_reason == "abort") {
    return Fault{"replica_failed", "the answer was cut off; the request can be repeated", ""};
  }
  if (done.usage.completion_tokens != num_tokens) {
    return Fault{"replica_failed", "the answer is incomplete; the request can be repeated", ""};
  }
  return std::nullopt;
}

}  // namespace

Generation::Generation(BackendLink& link, Signal& signal, std::size_t max_queued_bytes,
                       std::function<void()> on_overflow)
    : link_(link),
      signal_(signal),
      max_queued_bytes_(max_queued_bytes),
      on_overflow_(std::move(on_overflow)) {}

Generation::~Generation() {
  for (const Choice& choice : choices_) link_.forget(choice.id, /*cancel=*/choice.open);
}

bool Generation::start(const std::string& id, std::vector<comm::GenerateRequest> requests) {
  choices_.resize(requests.size());
  for (std::size_t i = 0; i < requests.size(); ++i) {
    Choice& choice = choices_[i];
    choice.id = requests[i].id = id + '-' + std::to_string(i);
    choice.open =
        link_.open(choice.id, std::move(requests[i]),
                   [this, i](comm::ServerMessage message) { receive(i, std::move(message)); });
    if (!choice.open) return false;
  }
  return true;
}

std::optional<Generation::Reply> Generation::next() {
  if (replies_.empty()) return std::nullopt;
  Reply reply = std::move(replies_.front());
  replies_.pop_front();
  queued_bytes_ -= weight(reply.message);
  return reply;
}

void Generation::receive(std::size_t index, comm::ServerMessage message) {
  Choice& choice = choices_[index];
  if (!choice.open || overflowed_) return;
  if (const auto* delta = std::get_if<comm::Delta>(&message)) {
    choice.num_tokens += static_cast<std::int64_t>(delta->token_ids.size());
  }
  choice.open = !ends(message);
  if (const auto* done = std::get_if<comm::Done>(&message)) {
    if (auto fault = fault_of(*done, choice.num_tokens)) {
      message = comm::ErrorReply{choice.id, *std::move(fault)};
    }
  }
  queued_bytes_ += weight(message);
  replies_.push_back({index, std::move(message)});
  if (queued_bytes_ > max_queued_bytes_) {
    overflowed_ = true;
    on_overflow_();
  }
  signal_.raise();
}

}  // namespace lockstep::gateway
