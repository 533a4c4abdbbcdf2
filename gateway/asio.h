// Boost.Asio as this folder uses it: every file includes it from here.
#pragma once

#include <utility>  // Asio 1.74 uses std::exchange without it
// clang-format keeps the two groups apart: the order matters.

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/error_code.hpp>

namespace lockstep::gateway {

namespace asio = boost::asio;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;

// Completes `co_await` with the error in `error` rather than with an exception.
inline auto error_to(error_code& error) { return asio::redirect_error(asio::use_awaitable, error); }

}  // namespace lockstep::gateway
