// Replies on their way to clients, and what happens to those who do not take them.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "comm/client_message.h"
#include "coordinator/client_socket.h"

namespace lockstep::coordinator {

// Invariant: no client ever reads a stream with a hole in it. From the first message that found a
// client's queue full, it gets nothing but one ErrorReply "client_too_slow" for every request that
// a message was meant for, as soon as it reads again.
class ClientOutbox {
 public:
  // `socket` must outlive this.
  explicit ClientOutbox(ClientSocket& socket) : socket_(socket) {}

  // Queues `message`, about the client's request `id`, for the next flush.
  void add(const std::string& client, const std::string& id, const comm::ServerMessage& message);

  // Sends what was queued; never waits. Returns the clients that have gone or are too slow: their
  // open requests are of no use, and each should be told so by one more message about it.
  std::set<std::string> flush();

 private:
  struct Reply {
    std::string client;
    std::string id;
    std::string bytes;
  };
  void retry_slow_clients(const std::set<std::string>& just_lost);
  bool told(const std::string& client, std::set<std::string>& ids);

  ClientSocket& socket_;
  std::vector<Reply> replies_;
  std::map<std::string, std::set<std::string>> owed_;  // of slow clients: requests to be told of
};

}  // namespace lockstep::coordinator
