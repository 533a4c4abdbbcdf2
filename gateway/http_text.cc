#include "gateway/http_text.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <optional>

#include "gateway/answer.h"
#include "gateway/json_text.h"

namespace lockstep::gateway {
namespace {

struct RouteEntry {
  std::string_view path;
  std::string_view method;
  Route route;
};

constexpr std::string_view kModelPrefix = "/v1/models/";

constexpr std::array<RouteEntry, 7> kRoutes = {{{"/v1/models", "GET", Route::kModels},
                                                {kModelPrefix, "GET", Route::kModel},
                                                {"/v1/completions", "POST", Route::kCompletions},
                                                {"/v1/chat/completions", "POST", Route::kChat},
                                                {"/health", "GET", Route::kHealth},
                                                {"/metrics", "GET", Route::kMetrics},
                                                {"/version", "GET", Route::kVersion}}};

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 411: return "Length Required";
    case 413: return "Content Too Large";
    case 415: return "Unsupported Media Type";
    case 417: return "Expectation Failed";
    case 431: return "Request Header Fields Too Large";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    default: return "Internal Server Error";
  }
}

bool matches(const RouteEntry& entry, std::string_view path) {
  if (entry.route != Route::kModel) return path == entry.path;
  return path.size() > entry.path.size() && path.starts_with(entry.path);
}

// HEAD is GET without the body (RFC 9110 section 9.3.2).
bool allows(const RouteEntry& entry, std::string_view method) {
  return method == entry.method || (method == "HEAD" && entry.method == "GET");
}

// "Application/JSON; charset=utf-8" counts. Anything else does not: a web page may send text/plain
// or a form to any server of the user's machine, but not JSON.
bool is_json(std::string_view content_type) {
  std::string media_type(content_type.substr(0, content_type.find(';')));
  std::erase_if(media_type, [](unsigned char c) { return c == ' ' || c == '\t'; });
  std::transform(media_type.begin(), media_type.end(), media_type.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return media_type == "application/json";
}

// RFC 3986 section 2.1; nothing where a '%' is not followed by two hexadecimal digits.
std::optional<std::string> percent_decoded(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    const std::string_view digits = text.substr(i + 1, 2);
    unsigned char byte = 0;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), byte, 16);
    if (digits.size() < 2 || error != std::errc() || end != digits.data() + digits.size()) {
      return std::nullopt;
    }
    decoded += static_cast<char>(byte);
    i += digits.size();
  }
  return decoded;
}

Fault invalid(std::string message) { return {"invalid_request_error", std::move(message), ""}; }

}  // namespace

HttpResponse error_response(int status, const Fault& fault) {
  HttpResponse response;
  response.status = status;
  response.body = error_body(fault);
  if (status == 503) response.headers.emplace_back("Retry-After", "1");
  return response;
}

HttpResponse error_response(const Fault& fault) {
  return error_response(http_status(fault), fault);
}

std::string http_text(const HttpResponse& response, bool keep_alive) {
  std::string text = "HTTP/1.1 " + std::to_string(response.status) + ' ' +
                     std::string(reason_phrase(response.status)) +
                     "\r\nContent-Type: " + response.content_type +
                     "\r\nContent-Length: " + std::to_string(response.body.size()) +
                     "\r\nConnection: " + (keep_alive ? "keep-alive" : "close") + "\r\n";
  for (const auto& [name, value] : response.headers) text += name + ": " + value + "\r\n";
  text += "\r\n";
  if (!response.head_only) text += response.body;
  return text;
}

std::string event_stream_head(const std::string& request_id, bool chunked, bool keep_alive) {
  std::string text =
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
      "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\nX-Request-Id: " +
      request_id + "\r\nConnection: " + (keep_alive ? "keep-alive" : "close") + "\r\n";
  if (chunked) text += "Transfer-Encoding: chunked\r\n";
  return text + "\r\n";
}

std::string http_chunk(std::string_view data) {
  std::array<char, 16> digits;
  const auto [end, error] =
      std::to_chars(digits.data(), digits.data() + digits.size(), data.size(), 16);
  std::string text(digits.data(), end);
  text.reserve(text.size() + data.size() + 4);
  text += "\r\n";
  text += data;
  text += "\r\n";
  return text;
}

RouteOrError find_route(const HttpRequest& request) {
  const std::string_view path =
      std::string_view(request.target).substr(0, request.target.find('?'));
  const auto entry = std::find_if(kRoutes.begin(), kRoutes.end(),
                                  [&](const RouteEntry& e) { return matches(e, path); });
  RouteOrError result;
  if (entry == kRoutes.end()) {
    result.label = "other";
    result.error = error_response(404, invalid("no such path: " + shortened(path)));
    return result;
  }
  result.label = entry->path;
  result.route = entry->route;
  if (!allows(*entry, request.method)) {
    result.error = error_response(405, invalid("the method must be " + std::string(entry->method) +
                                               ", not " + shortened(request.method)));
    result.error.headers.emplace_back("Allow", entry->method == "GET" ? "GET, HEAD" : "POST");
  } else if (entry->method == "POST" && !is_json(request.content_type)) {
    result.error = error_response(415, invalid("Content-Type must be application/json"));
  } else if (entry->route == Route::kModel) {
    const auto model = percent_decoded(path.substr(kModelPrefix.size()));
    result.found = model.has_value();
    result.model = model.value_or("");
    if (!model) {
      result.error = error_response(
          400, invalid("the model's name is not percent-encoded: " + shortened(path)));
    }
  } else {
    result.found = true;
  }
  return result;
}

}  // namespace lockstep::gateway
