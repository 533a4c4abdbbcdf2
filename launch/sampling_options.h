// The options that `generate` and `chat` share.
#pragma once

#include <CLI/App.hpp>
#include <cstdint>
#include <string>

#include "comm/client_message.h"

namespace lockstep::launch {

struct ClientOptions {
  std::string address = "tcp://127.0.0.1:5555";
  std::int64_t timeout_ms = 5000;  // for the server's first sign of life
  comm::GenerateRequest request;   // sampling, limits, stop strings
};

void add_client_options(CLI::App& command, ClientOptions& options);

}  // namespace lockstep::launch
