#include "gateway/http_server.h"

#include <spdlog/spdlog.h>

#include <exception>
#include <set>
#include <utility>

#include "base/error.h"
#include "gateway/connection.h"
#include "gateway/http_session.h"
#include "gateway/listener.h"
#include "gateway/server_context.h"

namespace lockstep::gateway {
namespace {

using asio::ip::tcp;

// Clients that are being told that there is no place for them. More are closed without a word.
constexpr std::size_t kMaxRefusals = 64;
// After a failed accept, e.g. for want of file descriptors.
constexpr std::chrono::milliseconds kAcceptPause{100};

HttpOptions checked(HttpOptions options) {
  if (options.served_model_name.empty()) throw Error("served_model_name must not be empty");
  if (options.max_connections == 0) throw Error("max_connections must be at least 1");
  if (options.max_header_bytes < 256) throw Error("max_header_bytes must be at least 256");
  return options;
}

std::int64_t seconds_since_1970() {
  using std::chrono::system_clock;
  return std::chrono::duration_cast<std::chrono::seconds>(system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

// Invariant: run() returns only when every coroutine has ended, so that none outlives what it uses.
class HttpServer::Impl {
 public:
  Impl(HttpOptions options, zmq::context_t& context, const std::string& backend_endpoint)
      : options_(checked(std::move(options))),
        acceptor_(listen(io_, options_.address)),
        drain_timer_(io_),
        accept_timer_(io_),
        backend_(io_.get_executor(), context, backend_endpoint, options_.backend_timeout),
        context_{options_, backend_, metrics_, seconds_since_1970()} {}

  std::uint16_t port() const { return port_; }

  void run(std::stop_token stop) {
    spawn(backend_.receive());
    spawn(backend_.watch());
    spawn(accept());
    const std::stop_callback on_stop(
        stop, [this] { asio::post(io_, [this] { spawn(stop_in_order()); }); });
    io_.run();
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  // For the server's own coroutines: one that fails stops the server.
  void spawn(asio::awaitable<void> coroutine) {
    asio::co_spawn(io_, std::move(coroutine), [this](std::exception_ptr exception) {
      if (!exception) return;
      if (!failure_) failure_ = exception;
      begin_stop(std::chrono::milliseconds(0));
    });
  }

  asio::awaitable<void> stop_in_order() {
    backend_.take_last_words();
    begin_stop(options_.drain_timeout);
    co_return;
  }

  asio::awaitable<void> accept() {
    while (!context_.stopping) {
      error_code error;
      tcp::socket socket = co_await acceptor_.async_accept(error_to(error));
      if (context_.stopping) break;
      if (!error) {
        admit(std::make_shared<Connection>(std::move(socket), options_));
        continue;
      }
      spdlog::warn("gateway: cannot accept a connection: {}", error.message());
      accept_timer_.expires_after(kAcceptPause);
      error_code cancelled;
      co_await accept_timer_.async_wait(error_to(cancelled));
    }
  }

  void admit(const std::shared_ptr<Connection>& connection) {
    const bool has_place = connections_.size() < options_.max_connections;
    if (!has_place) {
      metrics_.connection_refused();
      if (connections_.size() >= options_.max_connections + kMaxRefusals) return;
    }
    connections_.insert(connection);
    metrics_.connection_opened();
    asio::co_spawn(
        io_, has_place ? run_session(context_, connection) : refuse_session(context_, connection),
        [this, connection](std::exception_ptr exception) { end(connection, exception); });
  }

  // A session's end. Its failure is its own: the other clients have done nothing.
  void end(const std::shared_ptr<Connection>& connection, std::exception_ptr exception) {
    try {
      if (exception) std::rethrow_exception(exception);
    } catch (const std::exception& error) {
      spdlog::error("gateway: a connection failed: {}", error.what());
    }
    connection->close();
    connections_.erase(connection);
    metrics_.connection_closed();
    end_when_empty();
  }

  void begin_stop(std::chrono::milliseconds drain_timeout) {
    if (!std::exchange(context_.stopping, true)) {
      error_code ignored;  // closed is closed
      acceptor_.close(ignored);
      accept_timer_.cancel();
      backend_.close(comm::shutting_down());
    }
    for (const auto& connection : connections_) {
      if (connection->idle()) connection->close();
    }
    drain_timer_.expires_after(drain_timeout);
    drain_timer_.async_wait([this](const error_code& cancelled) {
      if (!cancelled) close_all();
    });
    end_when_empty();
  }

  void close_all() {
    for (const auto& connection : connections_) connection->close();
  }

  void end_when_empty() {
    if (!context_.stopping || !connections_.empty()) return;
    drain_timer_.cancel();
  }

  HttpOptions options_;
  asio::io_context io_{1};
  tcp::acceptor acceptor_;
  std::uint16_t port_ = acceptor_.local_endpoint().port();
  asio::steady_timer drain_timer_;
  asio::steady_timer accept_timer_;
  GatewayMetrics metrics_;
  BackendLink backend_;
  ServerContext context_;
  std::set<std::shared_ptr<Connection>> connections_;
  std::exception_ptr failure_;
};

HttpServer::HttpServer(HttpOptions options, zmq::context_t& context,
                       const std::string& backend_endpoint)
    : impl_(std::make_unique<Impl>(std::move(options), context, backend_endpoint)) {}

HttpServer::~HttpServer() = default;

std::uint16_t HttpServer::port() const { return impl_->port(); }

void HttpServer::run(std::stop_token stop) { impl_->run(std::move(stop)); }

}  // namespace lockstep::gateway
