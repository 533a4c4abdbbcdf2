// One client's TCP connection: requests in, bytes out, each within its time and size.
#pragma once

#include <boost/beast/core/flat_buffer.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "gateway/asio.h"
#include "gateway/http_options.h"
#include "gateway/http_text.h"
#include "gateway/signal.h"

namespace lockstep::gateway {

// No more requests come: the client has gone, or was silent for the idle timeout.
struct Closed {};

// A request; or the response to one that is refused unread, after which the connection ends; or
// nothing.
using ReadResult = std::variant<HttpRequest, HttpResponse, Closed>;

// Invariant: one thread; at most one of its coroutines runs at a time.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  // `options` must outlive the connection.
  Connection(asio::ip::tcp::socket socket, const HttpOptions& options);

  // REQUIRES: not watching.
  asio::awaitable<ReadResult> read_request();

  // False: the client has gone or did not take it within the write timeout.
  asio::awaitable<bool> write(std::string_view bytes);

  // From watch() to unwatch() the connection is read beside whatever else happens, so that a client
  // that goes away is noticed at once: peer_gone() becomes true and the signal is raised. What it
  // sends (its next requests) is kept, up to a head's length; a client that sends more than that
  // is noticed only by the writing.
  void watch();
  asio::awaitable<void> unwatch();
  bool peer_gone() const { return peer_gone_; }

  // Raised when the client goes, by close(), and by whoever else has news for the coroutine that
  // waits on it.
  Signal& signal() { return signal_; }

  // Ends the connection such that a last response is not lost: closing a socket with unread bytes
  // would make the system drop what is still to be sent.
  asio::awaitable<void> linger();

  // Ends it now. Whoever waits for it is woken.
  void close();

  // Between two requests.
  bool idle() const { return idle_; }

 private:
  class Deadline;
  asio::awaitable<bool> wait_for_request();
  asio::awaitable<void> read_some(error_code& error);
  void watch_more();

  asio::ip::tcp::socket socket_;
  const HttpOptions& options_;
  boost::beast::flat_buffer buffer_;
  asio::steady_timer timer_;
  std::uint64_t num_deadlines_ = 0;
  Signal signal_;
  bool watching_ = false;  // from watch() to unwatch()
  bool reading_ = false;   // for the watch; after unwatch() until the last read has ended
  Signal reading_ended_;
  bool peer_gone_ = false;
  bool idle_ = false;
};

}  // namespace lockstep::gateway
