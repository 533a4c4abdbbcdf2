// The gateway's own counters, in Prometheus' text format.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <string>

namespace lockstep::gateway {

// Names begin with lockstep_http_. Labels have few values: routes as find_route() labels them, and
// statuses.
class GatewayMetrics {
 public:
  GatewayMetrics();

  // 499 is a client that went away, as in nginx.
  void request_done(const std::string& route, int status, double seconds);
  void connection_opened() { connections_.Increment(); }
  void connection_closed() { connections_.Decrement(); }
  void connection_refused() { connections_refused_.Increment(); }
  void slow_reader() { slow_readers_.Increment(); }

  // All of it. `backend_up`: whether the backend told its status just now.
  std::string text(bool backend_up);

 private:
  prometheus::Registry registry_;
  prometheus::Family<prometheus::Counter>& requests_;
  prometheus::Family<prometheus::Histogram>& durations_;
  prometheus::Gauge& connections_;
  prometheus::Counter& connections_refused_;
  prometheus::Counter& slow_readers_;
  prometheus::Gauge& backend_up_;
};

}  // namespace lockstep::gateway
