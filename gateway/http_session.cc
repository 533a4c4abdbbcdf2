#include "gateway/http_session.h"

#include <optional>
#include <string>
#include <utility>

#include "gateway/completion.h"
#include "gateway/json_text.h"

namespace lockstep::gateway {
namespace {

using MaybeStatus = std::optional<comm::StatusReply>;

HttpResponse json_response(const Json& body) {
  HttpResponse response;
  response.body = json_text(body);
  return response;
}

HttpResponse no_answer(const HttpOptions& options) {
  return error_response({"replica_failed",
                         "the replica did not tell its status within " +
                             std::to_string(options.health_timeout.count()) + " ms",
                         ""});
}

HttpResponse health(const comm::StatusReply& status) {
  if (status.stopping) return error_response(comm::shutting_down());
  if (status.healthy) return json_response({{"status", "healthy"}});
  return error_response({"replica_failed", "the replica is not healthy: it makes no steps", ""});
}

Json model_json(const ServerContext& context, const comm::StatusReply& status) {
  return {{"id", context.options.served_model_name},
          {"object", "model"},
          {"created", context.started},
          {"owned_by", "lockstep"},
          {"max_model_len", status.max_model_len}};
}

HttpResponse models(const ServerContext& context, const comm::StatusReply& status) {
  return json_response({{"object", "list"}, {"data", Json::array({model_json(context, status)})}});
}

// GET /v1/models/<name>; names may contain slashes, encoded or as they are.
HttpResponse model(const ServerContext& context, const comm::StatusReply& status,
                   const std::string& name) {
  if (name == context.options.served_model_name) return json_response(model_json(context, status));
  return error_response(
      {"model_not_found", "the model '" + shortened(name) + "' does not exist", "model"});
}

HttpResponse version(const comm::StatusReply& status) {
  return json_response({{"version", status.version},
                        {"system_fingerprint", status.system_fingerprint},
                        {"world_size", status.world_size},
                        {"epoch", status.epoch}});
}

// The backend's metrics and ours. Without a backend, ours say so.
HttpResponse metrics(ServerContext& context, const MaybeStatus& status) {
  HttpResponse response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  if (status) response.body = status->metrics;
  if (!response.body.empty() && response.body.back() != '\n') response.body += '\n';
  response.body += context.metrics.text(status.has_value());
  return response;
}

// All routes but the two that generate: each tells something of the backend's status.
asio::awaitable<HttpResponse> status_response(ServerContext& context, const RouteOrError& routed) {
  const Route route = routed.route;
  const MaybeStatus status =
      co_await context.backend.status(route == Route::kMetrics, context.options.health_timeout);
  if (route == Route::kMetrics) co_return metrics(context, status);
  if (context.stopping) co_return error_response(comm::shutting_down());
  if (!status) co_return no_answer(context.options);
  switch (route) {
    case Route::kModels: co_return models(context, *status);
    case Route::kModel: co_return model(context, *status, routed.model);
    case Route::kVersion: co_return version(*status);
    default: co_return health(*status);
  }
}

asio::awaitable<Served> serve(ServerContext& context, Connection& connection, HttpRequest request,
                              const RouteOrError& routed) {
  if (routed.found && (routed.route == Route::kCompletions || routed.route == Route::kChat)) {
    const Endpoint endpoint =
        routed.route == Route::kChat ? Endpoint::kChat : Endpoint::kCompletions;
    co_return co_await serve_completion(context, connection, std::move(request), endpoint);
  }
  HttpResponse response = routed.error;
  if (routed.found) response = co_await status_response(context, routed);
  response.head_only = request.method == "HEAD";
  const bool keep_alive = request.keep_alive && !context.stopping;
  const std::string bytes = http_text(response, keep_alive);
  const bool written = co_await connection.write(bytes);
  co_return Served{written ? response.status : kClientGone, written && keep_alive};
}

}  // namespace

asio::awaitable<void> run_session(ServerContext& context, std::shared_ptr<Connection> connection) {
  bool keep_alive = true;
  while (keep_alive && !context.stopping) {
    ReadResult read = co_await connection->read_request();
    if (std::holds_alternative<Closed>(read)) break;
    const Clock::time_point start = Clock::now();
    std::string label = "unread";
    Served served;
    if (const auto* refusal = std::get_if<HttpResponse>(&read)) {
      served.status = refusal->status;
      const std::string bytes = http_text(*refusal, /*keep_alive=*/false);
      co_await connection->write(bytes);
    } else {
      HttpRequest& request = std::get<HttpRequest>(read);
      const RouteOrError routed = find_route(request);
      label = routed.label;
      served = co_await serve(context, *connection, std::move(request), routed);
    }
    const std::chrono::duration<double> seconds = Clock::now() - start;
    context.metrics.request_done(label, served.status, seconds.count());
    keep_alive = served.keep_alive;
  }
  co_await connection->linger();
}

asio::awaitable<void> refuse_session(const ServerContext& context,
                                     std::shared_ptr<Connection> connection) {
  const HttpResponse response = error_response(
      {"overloaded",
       "all " + std::to_string(context.options.max_connections) + " connections are in use", ""});
  const std::string bytes = http_text(response, /*keep_alive=*/false);
  co_await connection->write(bytes);
  co_await connection->linger();
}

}  // namespace lockstep::gateway
