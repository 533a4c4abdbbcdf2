#include "tests/gateway/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <stdexcept>

namespace lockstep::gateway {

HttpClient::HttpClient(std::uint16_t port, int receive_buffer)
    : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
  const timeval patience{10, 0};
  ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  ::setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  if (receive_buffer > 0) {
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    throw std::runtime_error("cannot connect");
  }
}

HttpClient::~HttpClient() { close(); }

void HttpClient::close() {
  if (socket_ >= 0) ::close(socket_);
  socket_ = -1;
}

bool HttpClient::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

bool HttpClient::receive() {
  std::array<char, 65536> bytes;
  const ssize_t received = ::recv(socket_, bytes.data(), bytes.size(), 0);
  if (received <= 0) return false;
  buffer_.append(bytes.data(), static_cast<std::size_t>(received));
  return true;
}

std::string HttpClient::read_until(std::string_view text) {
  std::size_t found = buffer_.find(text);
  while (found == std::string::npos) {
    if (!receive()) return std::exchange(buffer_, {});
    found = buffer_.find(text);
  }
  std::string read = buffer_.substr(0, found + text.size());
  buffer_.erase(0, read.size());
  return read;
}

ClientResponse HttpClient::read() {
  ClientResponse response;
  const std::string head = read_until("\r\n\r\n");
  if (!head.ends_with("\r\n\r\n")) return response;
  response.status = std::stoi(head.substr(9, 3));
  std::size_t at = head.find("\r\n") + 2;
  while (at + 2 < head.size()) {
    const std::size_t colon = head.find(": ", at), end = head.find("\r\n", at);
    std::string name = head.substr(at, colon - at);
    std::transform(name.begin(), name.end(), name.begin(), ::tolower);
    response.headers[name] = head.substr(colon + 2, end - colon - 2);
    at = end + 2;
  }
  if (response.headers.contains("content-length")) {
    const std::size_t length = std::stoul(response.headers["content-length"]);
    while (buffer_.size() < length && receive()) {
    }
    response.complete = buffer_.size() >= length;
    response.body = buffer_.substr(0, length);
    buffer_.erase(0, response.body.size());
  } else if (response.headers.contains("transfer-encoding")) {
    while (true) {
      const std::string line = read_until("\r\n");
      if (!line.ends_with("\r\n")) break;
      const std::size_t length = std::stoul(line, nullptr, 16);
      while (buffer_.size() < length + 2 && receive()) {
      }
      if (buffer_.size() < length + 2) break;
      response.body += buffer_.substr(0, length);
      buffer_.erase(0, length + 2);
      if (length == 0) {
        response.complete = true;
        break;
      }
    }
  } else {
    while (receive()) {
    }
    response.body = std::exchange(buffer_, {});
    response.complete = true;
  }
  return response;
}

bool HttpClient::sees_end() {
  char byte = 0;
  return buffer_.empty() && ::recv(socket_, &byte, 1, 0) == 0;
}

ClientResponse HttpClient::get(const std::string& path) {
  send("GET " + path + " HTTP/1.1\r\nHost: test\r\n\r\n");
  return read();
}

ClientResponse HttpClient::post(const std::string& path, const std::string& body) {
  send(post_text(path, body));
  return read();
}

std::string post_text(const std::string& path, const std::string& body) {
  return "POST " + path +
         " HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n\r\n" + body;
}

std::vector<std::string> event_data(const std::string& body) {
  std::vector<std::string> events;
  std::size_t at = 0;
  for (std::size_t end; (end = body.find("\n\n", at)) != std::string::npos; at = end + 2) {
    const std::string event = body.substr(at, end - at);
    if (!event.starts_with("data: ")) throw std::runtime_error("not an event: " + event);
    events.push_back(event.substr(6));
  }
  if (at != body.size()) throw std::runtime_error("half an event");
  return events;
}

}  // namespace lockstep::gateway
