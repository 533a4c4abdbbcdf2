#include "gateway/connection.h"

#include <gtest/gtest.h>

#include <array>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <optional>
#include <string>

namespace lockstep::gateway {
namespace {

using asio::ip::tcp;

using Local = asio::local::stream_protocol;

// Two ends in this process, with room for less between them than is written at once. (TCP's would
// move bytes in its own time.) The server's work is done only in io.poll().
struct Ends {
  Ends() : client(io) {
    Local::socket other(io);
    asio::local::connect_pair(client, other);
    other.set_option(Local::socket::send_buffer_size(8192));
    client.non_blocking(true);
    server.emplace(io, tcp::v4(), other.release());
  }

  // What has come by now.
  std::size_t take() {
    std::array<char, 65536> bytes;
    error_code error;
    std::size_t taken = 0;
    while (!error) taken += client.read_some(asio::buffer(bytes), error);
    return taken;
  }

  asio::io_context io;
  Local::socket client;
  std::optional<tcp::socket> server;
};

TEST(Connection, StopsWatchingThoughMoreHasJustCome) {
  const HttpOptions options;
  Ends ends;
  const auto connection = std::make_shared<Connection>(std::move(*ends.server), options);
  const std::string answer(std::size_t{1} << 20, 'x');
  bool unwatched = false;
  const auto write = [&]() -> asio::awaitable<void> {
    connection->watch();
    co_await connection->write(answer);
    co_await connection->unwatch();
    unwatched = true;
  };
  asio::co_spawn(ends.io, write(), [](std::exception_ptr exception) { EXPECT_FALSE(exception); });
  // Before each round the client makes room for the answer and sends a byte of its next request:
  // the server learns of both at once, and in the last round its write ends before that read.
  std::size_t taken = 0;
  for (std::size_t round = 0; round < options.max_header_bytes && taken < answer.size(); ++round) {
    ends.io.poll();
    taken += ends.take();
    ends.client.write_some(asio::buffer("G", 1));
  }
  EXPECT_EQ(taken, answer.size());
  ends.io.poll();
  EXPECT_TRUE(unwatched);
  connection->close();
  ends.io.restart();
  ends.io.poll();
}

}  // namespace
}  // namespace lockstep::gateway
