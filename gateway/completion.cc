#include "gateway/completion.h"

#include <memory>
#include <utility>

#include "comm/random_token.h"
#include "gateway/answer.h"
#include "gateway/generation.h"

namespace lockstep::gateway {
namespace {

std::int64_t seconds_since_1970() {
  using std::chrono::system_clock;
  return std::chrono::duration_cast<std::chrono::seconds>(system_clock::now().time_since_epoch())
      .count();
}

// How far a call's answer has come.
class Progress {
 public:
  Progress(AnswerFormat format, AnswerInfo info)
      : num_choices_(format.num_choices),
        answer_(make_answer(std::move(format), std::move(info))) {}

  void take(Generation::Reply reply) {
    const std::size_t choice = reply.choice;
    if (const auto* accepted = std::get_if<comm::Accepted>(&reply.message)) {
      ++num_accepted_;
      text_ += answer_->accepted(choice, *accepted);
    } else if (const auto* delta = std::get_if<comm::Delta>(&reply.message)) {
      text_ += answer_->delta(choice, *delta);
    } else if (const auto* done = std::get_if<comm::Done>(&reply.message)) {
      text_ += answer_->done(choice, *done);
      if (++num_done_ == num_choices_) text_ += answer_->finish();
    } else if (auto* error = std::get_if<comm::ErrorReply>(&reply.message)) {
      fail(std::move(error->fault));
    }
  }

  void fail(Fault fault) {
    if (!fault_) fault_ = std::move(fault);
  }

  // From here on the request is known to be good.
  bool all_accepted() const { return num_accepted_ == num_choices_; }
  bool complete() const { return num_done_ == num_choices_; }
  const std::optional<Fault>& fault() const { return fault_; }
  // What there is to send since the last call.
  std::string take_text() { return std::exchange(text_, {}); }

 private:
  std::size_t num_choices_;
  std::unique_ptr<Answer> answer_;
  std::size_t num_accepted_ = 0;
  std::size_t num_done_ = 0;
  std::optional<Fault> fault_;
  std::string text_;
};

// One call in the making.
class CompletionServer {
 public:
  CompletionServer(ServerContext& context, Connection& connection, const HttpRequest& request,
                   CompletionCall call)
      : context_(context),
        connection_(connection),
        keep_alive_(request.keep_alive),
        chunked_(request.chunked_answer),
        id_((call.format.endpoint == Endpoint::kChat ? "chatcmpl-" : "cmpl-") +
            comm::random_token()),
        stream_(call.format.stream),
        requests_(std::move(call.requests)),
        progress_(std::move(call.format),
                  {id_, context.options.served_model_name, seconds_since_1970()}),
        generation_(context.backend, connection.signal(), context.options.max_queued_bytes,
                    [&connection] { connection.close(); }) {}

  asio::awaitable<Served> serve() {
    Clock::time_point deadline = Clock::now() + context_.options.request_timeout;
    const bool has_room = context_.backend.waiting_bytes() < context_.options.max_backend_bytes;
    if (context_.stopping) {
      progress_.fail(comm::shutting_down());
    } else if (!has_room || !generation_.start(id_, std::move(requests_))) {
      progress_.fail({"overloaded", "the server takes no more requests now", ""});
    }
    while (true) {
      while (auto reply = generation_.next()) {
        progress_.take(std::move(*reply));
        if (stream_) deadline = Clock::now() + context_.options.request_timeout;
      }
      if (generation_.overflowed()) co_return slow_reader();
      if (connection_.peer_gone()) co_return Served{kClientGone, false};
      if (progress_.fault()) break;
      if (stream_ && progress_.all_accepted()) {
        const bool written = co_await write_stream();
        if (!written) co_return not_written();
      }
      if (progress_.complete()) break;
      const bool raised = co_await connection_.signal().wait_until(deadline);
      if (!raised) progress_.fail(timeout());
    }
    co_return co_await finish();
  }

 private:
  // The head when it is due, and what has come since the last call.
  asio::awaitable<bool> write_stream() {
    std::string bytes;
    if (!std::exchange(head_written_, true)) {
      bytes = event_stream_head(id_, chunked_, keeps_alive());
    }
    const std::string text = progress_.take_text();
    if (!text.empty()) bytes += chunked_ ? http_chunk(text) : text;
    const bool written = co_await connection_.write(bytes);
    co_return written;
  }

  asio::awaitable<Served> finish() {
    const std::optional<Fault>& fault = progress_.fault();
    Served served{fault ? http_status(*fault) : 200, keeps_alive()};
    std::string bytes;
    if (!head_written_) {
      HttpResponse response;
      if (fault) {
        response = error_response(*fault);
      } else {
        response.body = progress_.take_text();
      }
      response.headers.emplace_back("X-Request-Id", id_);
      bytes = http_text(response, served.keep_alive);
    } else {
      if (fault) {
        const std::string event = server_sent_event(error_body(*fault));
        bytes = chunked_ ? http_chunk(event) : event;
        served.keep_alive = false;
      }
      if (chunked_) bytes += kLastChunk;
    }
    const bool written = co_await connection_.write(bytes);
    if (!written) co_return not_written();
    co_return served;
  }

  // A stream without chunks can only end with its connection.
  bool keeps_alive() const { return keep_alive_ && !context_.stopping && (chunked_ || !stream_); }

  Fault timeout() const {
    const std::string what =
        stream_ ? "nothing more of the answer came within " : "the answer was not complete after ";
    return {"timeout", what + std::to_string(context_.options.request_timeout.count()) + " ms", ""};
  }

  Served not_written() {
    return generation_.overflowed() || !connection_.peer_gone() ? slow_reader()
                                                                : Served{kClientGone, false};
  }

  Served slow_reader() {
    context_.metrics.slow_reader();
    connection_.close();
    return {kClientGone, false};
  }

  ServerContext& context_;
  Connection& connection_;
  bool keep_alive_;
  bool chunked_;
  std::string id_;
  bool stream_;
  std::vector<comm::GenerateRequest> requests_;
  Progress progress_;
  Generation generation_;
  bool head_written_ = false;
};

}  // namespace

asio::awaitable<Served> serve_completion(ServerContext& context, Connection& connection,
                                         HttpRequest request, Endpoint endpoint) {
  const std::string& model = context.options.served_model_name;
  Result<CompletionCall> call = endpoint == Endpoint::kChat
                                    ? read_chat_request(request.body, model)
                                    : read_completion_request(request.body, model);
  if (!call) {
    const HttpResponse response = error_response(call.fault());
    const bool keep_alive = request.keep_alive && !context.stopping;
    const std::string bytes = http_text(response, keep_alive);
    const bool written = co_await connection.write(bytes);
    co_return Served{response.status, written && keep_alive};
  }
  std::string().swap(request.body);  // not needed for as long as the answer takes
  connection.watch();
  Served served;
  {
    CompletionServer server(context, connection, request, std::move(*call));
    served = co_await server.serve();
  }
  co_await connection.unwatch();
  co_return served;
}

}  // namespace lockstep::gateway
