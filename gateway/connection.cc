#include "gateway/connection.h"

#include <boost/asio/write.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <optional>

#include "gateway/answer.h"

namespace lockstep::gateway {
namespace {

namespace http = boost::beast::http;
using Parser = http::request_parser<http::string_body>;

// What is read at once, and so how far the buffer may grow beyond a head. Beast keeps a chunk's
// whole header line in it, so this also bounds chunk extensions and trailers.
constexpr std::size_t kReadBytes = std::size_t{16} << 10;
// How much, and how long, is read from a client whose last response is on its way.
constexpr std::size_t kMaxLingerBytes = std::size_t{1} << 20;
constexpr std::chrono::milliseconds kLingerTime{1000};

HttpResponse refusal(int status, const std::string& message) {
  return error_response(status, Fault{"invalid_request_error", message, ""});
}

// The response to a request that could not be read, or nothing when nobody waits for it.
std::optional<HttpResponse> refusal(const error_code& error, bool timed_out, bool in_head,
                                    const HttpOptions& options) {
  if (timed_out) {
    return refusal(408, "the request was not complete after " +
                            std::to_string(options.read_timeout.count()) + " ms");
  }
  if (error == http::error::header_limit || (in_head && error == http::error::buffer_overflow)) {
    return refusal(
        431, "the header is longer than " + std::to_string(options.max_header_bytes) + " bytes");
  }
  if (error == http::error::body_limit) {
    return refusal(413,
                   "the body is longer than " + std::to_string(options.max_body_bytes) + " bytes");
  }
  if (error == http::error::end_of_stream || error == http::error::partial_message ||
      error.category() != make_error_code(http::error::bad_method).category()) {
    return std::nullopt;
  }
  return refusal(400, "the request is not valid HTTP: " + error.message());
}

// What HTTP allows and this server does not.
std::optional<HttpResponse> refusal_of_head(const Parser& parser) {
  const auto& head = parser.get();
  if (head.version() != 10 && head.version() != 11) {
    return refusal(400, "the version must be HTTP/1.0 or HTTP/1.1");
  }
  if (head.version() == 11 && head.count(http::field::host) != 1) {
    return refusal(400, "there must be exactly one Host header");
  }
  if (head.count(http::field::transfer_encoding) > 0 && !parser.chunked()) {
    return refusal(501, "Transfer-Encoding must be chunked");
  }
  if (head.count(http::field::content_encoding) > 0) {
    return refusal(415, "Content-Encoding is not supported");
  }
  const auto expectation = head.find(http::field::expect);
  if (expectation != head.end() && !boost::beast::iequals(expectation->value(), "100-continue")) {
    return refusal(417, "Expect must be 100-continue");
  }
  if (head.method() == http::verb::post && !parser.chunked() && !parser.content_length()) {
    return refusal(411, "a POST needs Content-Length or Transfer-Encoding: chunked");
  }
  return std::nullopt;
}

ReadResult refused(const Parser& parser, HttpResponse response) {
  response.head_only = parser.get().method() == http::verb::head;
  return response;
}

std::string text_of(boost::beast::string_view view) { return {view.data(), view.size()}; }

HttpRequest take_request(Parser& parser) {
  auto& message = parser.get();
  HttpRequest request;
  request.method = text_of(message.method_string());
  request.target = text_of(message.target());
  request.content_type = text_of(message[http::field::content_type]);
  request.keep_alive = message.keep_alive();
  request.chunked_answer = message.version() >= 11;
  request.body = std::move(message.body());
  return request;
}

}  // namespace

// While it lives, the connection's operations end when its time is over.
class Connection::Deadline {
 public:
  Deadline(Connection& connection, std::chrono::milliseconds time) : connection_(connection) {
    connection.timer_.expires_after(time);
    connection.timer_.async_wait([self = connection.shared_from_this(), expired = expired_,
                                  number = ++connection.num_deadlines_](const error_code& error) {
      // A timer that has fired cannot be cancelled any more, but may be somebody else's by now.
      if (error || number != self->num_deadlines_) return;
      *expired = true;
      error_code ignored;  // the socket may be closed already
      self->socket_.cancel(ignored);
    });
  }
  ~Deadline() {
    ++connection_.num_deadlines_;
    connection_.timer_.cancel();
  }
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;

  bool expired() const { return *expired_; }

 private:
  Connection& connection_;
  std::shared_ptr<bool> expired_ = std::make_shared<bool>(false);
};

Connection::Connection(asio::ip::tcp::socket socket, const HttpOptions& options)
    : socket_(std::move(socket)),
      options_(options),
      buffer_(options.max_header_bytes + 2 * kReadBytes),
      timer_(socket_.get_executor()),
      signal_(socket_.get_executor()),
      reading_ended_(socket_.get_executor()) {
  error_code ignored;  // without it the answers are only slower
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
}

asio::awaitable<ReadResult> Connection::read_request() {
  const bool has_request = co_await wait_for_request();
  if (!has_request) co_return Closed{};

  const Deadline deadline(*this, options_.read_timeout);
  Parser parser;
  parser.header_limit(static_cast<std::uint32_t>(options_.max_header_bytes));
  parser.body_limit(options_.max_body_bytes);
  error_code error;
  co_await http::async_read_header(socket_, buffer_, parser, error_to(error));
  if (!error) {
    if (auto response = refusal_of_head(parser)) co_return refused(parser, std::move(*response));
    if (parser.get().count(http::field::expect) > 0 && !parser.is_done()) {
      constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
      co_await asio::async_write(socket_, asio::buffer(kContinue), error_to(error));
    }
  }
  const bool in_head = !parser.is_header_done();
  if (!error) co_await http::async_read(socket_, buffer_, parser, error_to(error));
  if (!error) co_return take_request(parser);
  if (auto response = refusal(error, deadline.expired(), in_head, options_)) {
    co_return refused(parser, std::move(*response));
  }
  co_return Closed{};
}

asio::awaitable<bool> Connection::wait_for_request() {
  if (buffer_.size() > 0) co_return true;
  const Deadline deadline(*this, options_.idle_timeout);
  idle_ = true;
  error_code error;
  co_await read_some(error);
  idle_ = false;
  co_return !error;
}

asio::awaitable<void> Connection::read_some(error_code& error) {
  const std::size_t num_bytes =
      co_await socket_.async_read_some(buffer_.prepare(kReadBytes), error_to(error));
  buffer_.commit(num_bytes);
}

asio::awaitable<bool> Connection::write(std::string_view bytes) {
  if (bytes.empty()) co_return true;
  const Deadline deadline(*this, options_.write_timeout);
  error_code error;
  co_await asio::async_write(socket_, asio::buffer(bytes), error_to(error));
  co_return !error;
}

void Connection::watch() {
  watching_ = true;
  watch_more();
}

void Connection::watch_more() {
  // A read that had succeeded when unwatch() came cannot be cancelled: none may follow it.
  reading_ = watching_ && buffer_.size() <= options_.max_header_bytes;
  if (!reading_) return reading_ended_.raise();
  socket_.async_read_some(
      buffer_.prepare(kReadBytes),
      [self = shared_from_this()](const error_code& error, std::size_t num_bytes) {
        self->buffer_.commit(num_bytes);
        if (!error) return self->watch_more();
        self->reading_ = false;
        self->reading_ended_.raise();
        if (error == asio::error::operation_aborted) return;
        self->peer_gone_ = true;
        self->signal_.raise();
      });
}

asio::awaitable<void> Connection::unwatch() {
  watching_ = false;
  error_code ignored;  // the socket may be closed already
  socket_.cancel(ignored);
  while (reading_) co_await reading_ended_.wait_until(Clock::time_point::max());
}

asio::awaitable<void> Connection::linger() {
  const Deadline deadline(*this, kLingerTime);
  error_code error;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, error);
  std::size_t num_bytes = 0;
  while (!error && num_bytes < kMaxLingerBytes) {
    buffer_.clear();
    co_await read_some(error);
    num_bytes += buffer_.size();
  }
  close();
}

void Connection::close() {
  error_code ignored;  // the connection may be gone already
  socket_.close(ignored);
  peer_gone_ = true;
  signal_.raise();
}

}  // namespace lockstep::gateway
