// A client that can be as rude as a test needs: a blocking loopback socket, written by hand.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep::gateway {

struct ClientResponse {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // chunks joined
  bool complete = false;                       // the body ended as its head announced

  nlohmann::json json() const { return nlohmann::json::parse(body); }
};

class HttpClient {
 public:
  // Every wait ends after 10 s. `receive_buffer`: SO_RCVBUF, 0 for the system's own.
  explicit HttpClient(std::uint16_t port, int receive_buffer = 0);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // False: the server has closed the connection.
  bool send(std::string_view bytes);
  // The next response; status 0 when the connection ended instead.
  ClientResponse read();
  // Until `text` has come (returned with what stood before it) or the connection ended.
  std::string read_until(std::string_view text);
  // Whether the server closes the connection without a further byte.
  bool sees_end();
  void close();

  ClientResponse get(const std::string& path);
  ClientResponse post(const std::string& path, const std::string& body);

 private:
  bool receive();

  int socket_ = -1;
  std::string buffer_;
};

std::string post_text(const std::string& path, const std::string& body);

// The data of the server-sent events in `body`.
std::vector<std::string> event_data(const std::string& body);

}  // namespace lockstep::gateway
