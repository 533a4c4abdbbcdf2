// Admission on a thread of its own: a long text takes seconds to become tokens, and the shards'
// steps do not wait for it.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>

#include "comm/client_message.h"
#include "coordinator/admission.h"
#include "coordinator/wake_descriptor.h"

namespace lockstep::coordinator {

// First come, first served: one request at a time, and results in the order of requests. Used by
// one thread.
class AdmissionQueue {
 public:
  struct Decision {
    std::uint64_t sequence_id = 0;
    Result<AdmittedRequest> request;
  };

  // Uses `admission` on its thread, and wakes `wake` when take() has something. Both must outlive
  // it.
  AdmissionQueue(Admission& admission, const WakeDescriptor& wake);

  // False, and nothing is done: the requests that wait would take more than kMaxBytes.
  bool add(comm::GenerateRequest request, std::uint64_t sequence_id);

  // Forgets a request that waits. Of one that is being looked at, the decision comes all the same.
  void cancel(std::uint64_t sequence_id);

  // The next decision, or nothing when there is none yet; never waits. Throws what admission threw.
  std::optional<Decision> take();

  // So many long texts, and their copies where a client asks for several answers.
  static constexpr std::size_t kMaxBytes = std::size_t{256} << 20;

 private:
  struct Waiting {
    std::uint64_t sequence_id = 0;
    std::size_t bytes = 0;
    comm::GenerateRequest request;
  };
  void work(const std::stop_token& stop);
  std::optional<Waiting> next(const std::stop_token& stop);

  Admission& admission_;
  const WakeDescriptor& wake_;
  std::mutex mutex_;
  std::condition_variable_any added_;
  std::deque<Waiting> waiting_;
  std::size_t waiting_bytes_ = 0;
  std::deque<Decision> decisions_;
  std::exception_ptr failure_;
  std::jthread thread_;  // last: it uses the others
};

}  // namespace lockstep::coordinator
