// The requests of one call at the backend.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "comm/client_message.h"
#include "gateway/backend_link.h"
#include "gateway/signal.h"

namespace lockstep::gateway {

// Opens a call's requests, queues what the backend answers, and cancels what is still open when it
// is destroyed.
class Generation {
 public:
  struct Reply {
    std::size_t choice;  // index of the request
    comm::ServerMessage message;
  };

  // `signal` is raised at every reply. When the queued replies reach `max_queued_bytes`,
  // `on_overflow` is called, once, and no more are queued. All must outlive this.
  Generation(BackendLink& link, Signal& signal, std::size_t max_queued_bytes,
             std::function<void()> on_overflow);
  ~Generation();
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;

  // Sends the requests under ids "<id>-<index>". False: the backend does not take them.
  bool start(const std::string& id, std::vector<comm::GenerateRequest> requests);

  // The oldest reply, if there is one.
  std::optional<Reply> next();

  bool overflowed() const { return overflowed_; }

 private:
  struct Choice {
    std::string id;
    bool open = false;
    std::int64_t num_tokens = 0;  // in its deltas
  };
  void receive(std::size_t index, comm::ServerMessage message);

  BackendLink& link_;
  Signal& signal_;
  std::size_t max_queued_bytes_;
  std::function<void()> on_overflow_;
  std::vector<Choice> choices_;
  std::deque<Reply> replies_;
  std::size_t queued_bytes_ = 0;
  bool overflowed_ = false;
};

}  // namespace lockstep::gateway
