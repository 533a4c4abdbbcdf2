// What all connections of one server share.
#pragma once

#include <cstdint>

#include "gateway/backend_link.h"
#include "gateway/gateway_metrics.h"
#include "gateway/http_options.h"

namespace lockstep::gateway {

struct ServerContext {
  const HttpOptions& options;
  BackendLink& backend;
  GatewayMetrics& metrics;
  std::int64_t started = 0;  // seconds since 1970
  bool stopping = false;     // no further request on any connection, and no backend
};

}  // namespace lockstep::gateway
