#include "coordinator/admission_queue.h"

#include <algorithm>
#include <utility>

namespace lockstep::coordinator {
namespace {

// What grows with the client's message.
std::size_t bytes_of(const comm::GenerateRequest& request) {
  const auto length = [](const auto& text) { return text ? text->size() : 0; };
  return sizeof(request) + length(request.prompt) + length(request.messages) +
         length(request.template_args) + length(request.prompt_token_ids) * sizeof(std::int32_t);
}

}  // namespace

AdmissionQueue::AdmissionQueue(Admission& admission, const WakeDescriptor& wake)
    : admission_(admission), wake_(wake), thread_([this](const std::stop_token& stop) {
        try {
          work(stop);
        } catch (...) {
          const std::lock_guard lock(mutex_);
          failure_ = std::current_exception();
          wake_.wake();
        }
      }) {}

bool AdmissionQueue::add(comm::GenerateRequest request, std::uint64_t sequence_id) {
  const std::size_t bytes = bytes_of(request);
  {
    const std::lock_guard lock(mutex_);
    if (waiting_bytes_ + bytes > kMaxBytes) return false;
    waiting_bytes_ += bytes;
    waiting_.push_back({sequence_id, bytes, std::move(request)});
  }
  added_.notify_one();
  return true;
}

void AdmissionQueue::cancel(std::uint64_t sequence_id) {
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(waiting_.begin(), waiting_.end(), [&](const Waiting& waiting) {
    return waiting.sequence_id == sequence_id;
  });
  if (found == waiting_.end()) return;
  waiting_bytes_ -= found->bytes;
  waiting_.erase(found);
}

std::optional<AdmissionQueue::Decision> AdmissionQueue::take() {
  const std::lock_guard lock(mutex_);
  if (failure_) std::rethrow_exception(failure_);
  if (decisions_.empty()) return std::nullopt;
  Decision decision = std::move(decisions_.front());
  decisions_.pop_front();
  return decision;
}

void AdmissionQueue::work(const std::stop_token& stop) {
  while (const std::optional<Waiting> waiting = next(stop)) {
    Decision decision{waiting->sequence_id,
                      admission_.admit(waiting->request, waiting->sequence_id)};
    const std::lock_guard lock(mutex_);
    decisions_.push_back(std::move(decision));
    wake_.wake();
  }
}

// Nothing when the thread is to end.
std::optional<AdmissionQueue::Waiting> AdmissionQueue::next(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  if (!added_.wait(lock, stop, [this] { return !waiting_.empty(); }) || stop.stop_requested()) {
    return std::nullopt;
  }
  Waiting waiting = std::move(waiting_.front());
  waiting_.pop_front();
  waiting_bytes_ -= waiting.bytes;
  return waiting;
}

}  // namespace lockstep::coordinator
