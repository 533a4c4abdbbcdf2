#include "coordinator/client_outbox.h"

#include <utility>

#include "comm/client_codec.h"

namespace lockstep::coordinator {
namespace {

// A client that sends without ever reading is not told of more requests than this.
constexpr std::size_t kMaxOwed = 4096;

}  // namespace

void ClientOutbox::add(const std::string& client, const std::string& id,
                       const comm::ServerMessage& message) {
  replies_.push_back({client, id, comm::encode(message)});
}

std::set<std::string> ClientOutbox::flush() {
  using SendResult = ClientSocket::SendResult;
  retry_slow_clients();
  std::set<std::string> lost;
  for (const Reply& reply : std::exchange(replies_, {})) {
    if (lost.contains(reply.client) && !owed_.contains(reply.client)) continue;  // it has gone
    const bool slow = owed_.contains(reply.client);
    const SendResult result = slow ? SendResult::full : socket_.send(reply.client, reply.bytes);
    if (result == SendResult::sent) continue;
    lost.insert(reply.client);
    if (result == SendResult::gone) continue;
    std::set<std::string>& ids = owed_[reply.client];
    if (ids.size() < kMaxOwed) ids.insert(reply.id);
  }
  return lost;
}

void ClientOutbox::retry_slow_clients() {
  using SendResult = ClientSocket::SendResult;
  for (auto client = owed_.begin(); client != owed_.end();) {
    std::set<std::string>& ids = client->second;
    SendResult result = SendResult::sent;
    while (!ids.empty() && result == SendResult::sent) {
      const comm::ErrorReply error{
          *ids.begin(), {"client_too_slow", "the client did not read its answers in time", ""}};
      result = socket_.send(client->first, comm::encode(comm::ServerMessage(error)));
      if (result == SendResult::sent) ids.erase(ids.begin());
    }
    client = ids.empty() || result == SendResult::gone ? owed_.erase(client) : std::next(client);
  }
}

}  // namespace lockstep::coordinator
