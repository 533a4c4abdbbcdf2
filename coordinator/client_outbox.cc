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
  std::set<std::string> lost;
  for (const Reply& reply : std::exchange(replies_, {})) {
    const bool slow = owed_.contains(reply.client);
    if (lost.contains(reply.client) && !slow) continue;  // it has gone
    const SendResult result = slow ? SendResult::full : socket_.send(reply.client, reply.bytes);
    if (result == SendResult::sent) continue;
    lost.insert(reply.client);
    if (result == SendResult::gone) continue;
    std::set<std::string>& ids = owed_[reply.client];
    if (ids.size() < kMaxOwed) ids.insert(reply.id);
  }
  retry_slow_clients(lost);
  return lost;
}

// Those just lost are spared: the last replies about their requests are still to come, and must not
// follow the error.
void ClientOutbox::retry_slow_clients(const std::set<std::string>& just_lost) {
  for (auto client = owed_.begin(); client != owed_.end();) {
    const bool over = !just_lost.contains(client->first) && told(client->first, client->second);
    client = over ? owed_.erase(client) : std::next(client);
  }
}

// Tells the client of as many requests as it takes. True when nothing is left to tell.
bool ClientOutbox::told(const std::string& client, std::set<std::string>& ids) {
  using SendResult = ClientSocket::SendResult;
  while (!ids.empty()) {
    const comm::ErrorReply error{
        *ids.begin(), {"client_too_slow", "the client did not read its answers in time", ""}};
    const SendResult result = socket_.send(client, comm::encode(comm::ServerMessage(error)));
    if (result != SendResult::sent) return result == SendResult::gone;
    ids.erase(ids.begin());
  }
  return true;
}

}  // namespace lockstep::coordinator
