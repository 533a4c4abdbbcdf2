#include "gateway/http_address.h"

#include <charconv>
#include <optional>
#include <string_view>

#include "gateway/asio.h"

namespace lockstep::gateway {
namespace {

constexpr std::string_view kDigits = "0123456789";
constexpr std::string_view kNameLetters =
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-_";
constexpr std::size_t kMaxNameBytes = 253;  // RFC 1035

bool has_only(std::string_view text, std::string_view letters) {
  return text.find_first_not_of(letters) == std::string_view::npos;
}

std::optional<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return port;
}

// The host without brackets, which only an IPv6 address has and none may lack.
std::optional<std::string> parse_host(std::string host) {
  error_code error;
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
    asio::ip::make_address_v6(host, error);
  } else if (has_only(host, std::string(kDigits) + '.')) {  // "10.0.0" is no name
    asio::ip::make_address_v4(host, error);
  } else if (host.size() > kMaxNameBytes || !has_only(host, kNameLetters)) {
    return std::nullopt;
  }
  return error ? std::nullopt : std::optional(std::move(host));
}

}  // namespace

Result<HttpAddress> parse_http_address(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  if (colon != std::string::npos) {
    auto host = parse_host(text.substr(0, colon));
    const auto port = parse_port(std::string_view(text).substr(colon + 1));
    if (host && port) return HttpAddress{*std::move(host), *port};
  }
  return Fault{"invalid_request_error",
               "'" + text +
                   "' is no IP address or host name with a port, such as 127.0.0.1:8000, "
                   "[::1]:8000 or localhost:8000",
               ""};
}

}  // namespace lockstep::gateway
