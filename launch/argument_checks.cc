#include "launch/argument_checks.h"

#include <cctype>
#include <charconv>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

#include "gateway/http_address.h"

namespace lockstep::launch {
namespace {

// The number that `text` begins with, taken off it.
std::optional<std::uint64_t> take_number(std::string_view& text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return number;
}

// How far a unit shifts a number of bytes to the left.
std::optional<int> shift_of_unit(std::string_view unit) {
  std::string lower;
  for (const char c : unit) lower += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (lower.empty() || lower == "b") return 0;
  constexpr std::string_view kPrefixes = "kmgt";
  const std::size_t power = kPrefixes.find(lower[0]);
  const std::string_view rest = std::string_view(lower).substr(1);
  if (power == std::string_view::npos || !(rest.empty() || rest == "b" || rest == "ib")) {
    return std::nullopt;
  }
  return 10 * (static_cast<int>(power) + 1);
}

bool is_port(std::string_view text) {
  const auto port = take_number(text);
  return port && *port <= 65535 && text.empty();
}

}  // namespace

std::string check_unsigned(const std::string& text) {
  std::string_view rest = text;
  if (take_number(rest) && rest.empty()) return "";
  return "'" + text + "' is no integer from 0 to 18446744073709551615";
}

std::string check_share(const std::string& text) {
  double share = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, share);
  if (error == std::errc() && rest == end && share > 0 && share <= 1) return "";
  return "'" + text + "' is no number above 0 and at most 1";
}

std::string check_http_address(const std::string& address) {
  const auto parsed = gateway::parse_http_address(address);
  return parsed ? "" : parsed.fault().message;
}

std::string check_zmq_address(const std::string& address) {
  if (address.starts_with("ipc://")) return "";
  if (!address.starts_with("tcp://")) {
    return "'" + address + "' begins neither with tcp:// nor with ipc://";
  }
  const std::string_view rest = std::string_view(address).substr(std::string_view("tcp://").size());
  const std::size_t colon = rest.rfind(':');
  if (colon != std::string_view::npos && colon > 0) {
    const std::string_view port = rest.substr(colon + 1);
    if (port == "*" || is_port(port)) return "";
  }
  return "'" + address +
         "' must end with a port from 0 to 65535, or *, as tcp://127.0.0.1:5555 does";
}

std::string size_to_bytes(std::string& text) {
  std::string_view rest = text;
  const auto number = take_number(rest);
  while (rest.starts_with(' ')) rest.remove_prefix(1);
  const auto shift = shift_of_unit(rest);
  if (!number || !shift) return "'" + text + "' is no size, such as 4096, 512MiB or 4GiB";
  if (*number > std::numeric_limits<std::uint64_t>::max() >> *shift) {
    return "'" + text + "' is more bytes than can be counted";
  }
  text = std::to_string(*number << *shift);
  return "";
}

}  // namespace lockstep::launch
