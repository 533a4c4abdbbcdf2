// HTTP/1.1 responses as text, and the table of routes. No sockets here.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

namespace lockstep::gateway {

struct HttpRequest {
  std::string method;
  std::string target;
  std::string content_type;
  std::string body;
  bool keep_alive = true;
  bool chunked_answer = true;  // HTTP/1.0 has no chunks: a stream ends with its connection
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;  // besides the usual ones
  bool head_only = false;  // to HEAD: the body's length is told, and the body left out
};

// OpenAI's error body; 503 carries Retry-After.
HttpResponse error_response(int status, const Fault& fault);
// With the status that belongs to the fault's code.
HttpResponse error_response(const Fault& fault);

// The whole response as bytes.
std::string http_text(const HttpResponse& response, bool keep_alive);

// The head of a stream of server-sent events, `chunked` (RFC 9112 section 7.1) or until close.
std::string event_stream_head(const std::string& request_id, bool chunked, bool keep_alive);
// `data`, not empty, as one chunk.
std::string http_chunk(std::string_view data);
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

enum class Route { kModels, kModel, kCompletions, kChat, kHealth, kMetrics, kVersion };

// Which route a request takes, or the error response: 404 for a path that is not known, 405 (with
// Allow) for another method, 415 for a body that is not declared as application/json, 400 for a
// model's name whose percent-encoding is broken. HEAD goes where GET does. The query is ignored.
struct RouteOrError {
  Route route = Route::kModels;
  std::string label;  // for metrics: the route's own path, "other" when there is none
  std::string model;  // of kModel: the name, decoded
  bool found = false;
  HttpResponse error;  // unless found
};
RouteOrError find_route(const HttpRequest& request);

}  // namespace lockstep::gateway
