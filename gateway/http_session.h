// What happens on one connection, from accept to close.
#pragma once

#include <memory>

#include "gateway/connection.h"
#include "gateway/server_context.h"

namespace lockstep::gateway {

// Answers the connection's requests one after another. `context` must outlive the coroutine.
asio::awaitable<void> run_session(ServerContext& context, std::shared_ptr<Connection> connection);

// Tells the client of a connection beyond the limit so.
asio::awaitable<void> refuse_session(const ServerContext& context,
                                     std::shared_ptr<Connection> connection);

}  // namespace lockstep::gateway
