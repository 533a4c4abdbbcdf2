#include "gateway/gateway_metrics.h"

#include <prometheus/text_serializer.h>

namespace lockstep::gateway {
namespace {

prometheus::Counter& counter(prometheus::Registry& registry, const std::string& name,
                             const std::string& help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add({});
}

prometheus::Gauge& gauge(prometheus::Registry& registry, const std::string& name,
                         const std::string& help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({});
}

// Seconds: an answer may take minutes.
prometheus::Histogram::BucketBoundaries duration_buckets() {
  return {0.005, 0.02, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600};
}

}  // namespace

GatewayMetrics::GatewayMetrics()
    : requests_(prometheus::BuildCounter()
                    .Name("lockstep_http_requests_total")
                    .Help("HTTP requests answered, by route and status (499: the client went away)")
                    .Register(registry_)),
      durations_(prometheus::BuildHistogram()
                     .Name("lockstep_http_request_duration_seconds")
                     .Help("From the last byte of a request to the last byte of its answer")
                     .Register(registry_)),
      connections_(gauge(registry_, "lockstep_http_connections", "Open client connections")),
      connections_refused_(counter(registry_, "lockstep_http_connections_refused_total",
                                   "Connections beyond the limit")),
      slow_readers_(counter(registry_, "lockstep_http_slow_readers_total",
                            "Answers cancelled because the client did not read them")),
      backend_up_(gauge(registry_, "lockstep_http_backend_up",
                        "1 when the backend told its status for this scrape")) {}

void GatewayMetrics::request_done(const std::string& route, int status, double seconds) {
  requests_.Add({{"route", route}, {"status", std::to_string(status)}}).Increment();
  durations_.Add({{"route", route}}, duration_buckets()).Observe(seconds);
}

std::string GatewayMetrics::text(bool backend_up) {
  backend_up_.Set(backend_up ? 1 : 0);
  return prometheus::TextSerializer().Serialize(registry_.Collect());
}

}  // namespace lockstep::gateway
