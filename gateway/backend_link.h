// The gateway's end of the native client protocol.
#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <zmq.hpp>

#include "comm/client_message.h"
#include "gateway/asio.h"
#include "gateway/counted_message.h"
#include "gateway/signal.h"

namespace lockstep::gateway {

// A ZeroMQ DEALER on an Asio loop. All functions are called on the loop's thread; handlers too, out
// of receive(). A handler calls nothing here.
//
// Invariants:
// 1. ZMQ_FD tells of changes, not of states: it may be silent while messages wait. So the socket is
//    read until it is empty after every event and after every send, by receive() alone until the
//    backend has ended.
// 2. A request that is open ends: by Done, by ErrorReply, or by an ErrorReply "replica_failed" made
//    here when the backend is silent for `silence_limit` or comes back under another epoch, or by
//    the fault that close() is given.
class BackendLink {
 public:
  using Handler = std::function<void(comm::ServerMessage)>;

  // Connects to `endpoint`, which need not be there yet. Throws Error.
  BackendLink(const asio::any_io_executor& executor, zmq::context_t& context,
              const std::string& endpoint, std::chrono::milliseconds silence_limit);
  ~BackendLink();

  // Receives until close(). Throws zmq::error_t when the context ends.
  asio::awaitable<void> receive();
  // Watches the backend while requests are open, until close().
  asio::awaitable<void> watch();
  // Hands out what a backend has said that has ended meanwhile. Throws as receive() does.
  void take_last_words();
  // Ends what is open with `fault`; nothing is opened from now on.
  void close(const Fault& fault);

  // Sends `message`, whose answers go to `handler`. False: the backend does not take messages now.
  // A handler that is gone must have been forgotten.
  bool open(const std::string& id, const comm::ClientMessage& message, Handler handler);
  // The bytes of what was sent and not yet taken by the backend (or by the network).
  std::size_t waiting_bytes() const { return waiting_bytes_->load(); }
  // No more answers to `id`. `cancel` also tells the backend.
  void forget(const std::string& id, bool cancel);

  // The backend's status; nothing when it does not tell within `timeout`.
  asio::awaitable<std::optional<comm::StatusReply>> status(bool metrics,
                                                           std::chrono::milliseconds timeout);

 private:
  bool send(const comm::ClientMessage& message);
  void send_cancels();
  // Handles what has arrived. False: there may be more.
  bool drain();
  void dispatch(comm::ServerMessage message);
  void fail_all(const Fault& fault);
  void fail_unreadable(const std::string& id);
  void check_silence(Clock::time_point now);
  void check_epoch(const comm::StatusReply& reply);

  asio::any_io_executor executor_;
  std::chrono::milliseconds silence_limit_;
  const ByteCount waiting_bytes_ = make_byte_count();
  zmq::socket_t socket_;
  asio::posix::stream_descriptor descriptor_;  // ZMQ_FD, which belongs to socket_
  asio::steady_timer tick_;
  std::map<std::string, Handler> handlers_;
  std::deque<std::string> cancels_;  // that the socket did not take yet
  Clock::time_point last_heard_;
  std::optional<std::uint64_t> epoch_;
  std::uint64_t num_status_requests_ = 0;
  bool closed_ = false;
};

}  // namespace lockstep::gateway
