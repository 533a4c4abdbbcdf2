#include "launch/front.h"

#include <spdlog/spdlog.h>

#include <filesystem>
#include <optional>
#include <stop_token>

#include "coordinator/engine.h"
#include "coordinator/plan_bus_link.h"
#include "gateway/http_server.h"
#include "launch/version.h"

namespace lockstep::launch {
namespace {

constexpr const char* kGatewayEndpoint = "inproc://gateway";

std::string served_name(const ServeOptions& options) {
  if (!options.served_model_name.empty()) return options.served_model_name;
  const auto path = std::filesystem::weakly_canonical(options.model);
  return path.extension() == ".gguf" ? path.stem().string() : path.filename().string();
}

coordinator::EngineOptions engine_options(const ServeOptions& options, const ReplicaSizes& sizes,
                                          std::string fingerprint,
                                          std::map<std::string, std::string> labels, int world_size,
                                          std::uint64_t epoch) {
  return {
      .scheduler = {.max_num_seqs = options.max_num_seqs,
                    .max_num_batched_tokens = sizes.max_batched_tokens,
                    .max_model_len = sizes.max_model_len,
                    .block_size = options.block_size,
                    .num_blocks = sizes.num_blocks,
                    .pipeline_stages = options.pipeline_parallel_size,
                    .num_speculative_tokens = sizes.num_speculative_tokens},
      .endpoints = {options.zmq, kGatewayEndpoint},
      .served_model_name = served_name(options),
      .system_fingerprint = std::move(fingerprint),
      .version = kVersion,
      .labels = std::move(labels),
      .seed = options.seed,
      .epoch = epoch,
      .world_size = world_size,
      .max_queue = options.max_queue,
      .shard_deadline = options.deadline,
      // Idle shards hear of the coordinator several times within their deadline.
      .heartbeat_interval = std::min(std::chrono::milliseconds(1000), options.deadline / 4),
      .shutdown_timeout = options.shutdown_timeout,
  };
}

}  // namespace

struct Front::Impl {
  Impl(const ServeOptions& options, const ReplicaSizes& sizes, const model::Model& model,
       const ModelText& text, std::string fingerprint, std::map<std::string, std::string> labels,
       int world_size, zmq::context_t& context, comm::PlanPublisher& bus, std::uint64_t epoch,
       Tracer* tracer, std::function<void(const std::string&)> on_failure_in)
      : on_failure(std::move(on_failure_in)), link(bus) {
    engine.emplace(engine_options(options, sizes, std::move(fingerprint), std::move(labels),
                                  world_size, epoch),
                   text.tokenizer(), text.chat_template(), model.config.eos_token_ids, context,
                   link, tracer);
    if (!options.http.empty()) {
      gateway::HttpOptions http;
      http.address = options.http;
      http.served_model_name = served_name(options);
      http.request_timeout = options.request_timeout;
      http_host = options.http.substr(0, options.http.rfind(':'));
      gateway.emplace(http, context, kGatewayEndpoint);
    }
    engine_thread = start("coordinator", [this](std::stop_token stop) { serve(stop); });
    if (gateway) {
      gateway_thread = start("gateway", [this](std::stop_token stop) { gateway->run(stop); });
    }
  }

  void serve(std::stop_token stop) {
    try {
      engine->run(stop, failed.get_token());
    } catch (const std::exception&) {
      std::this_thread::sleep_for(kLastWords);
      throw;
    }
  }

  template <class Body>
  std::jthread start(const char* name, Body body) {
    return std::jthread([this, name, body](std::stop_token stop) {
      try {
        body(stop);
      } catch (const std::exception& error) {
        on_failure(std::string(name) + ": " + error.what());
      }
    });
  }

  std::function<void(const std::string&)> on_failure;
  coordinator::PlanBusLink link;
  std::optional<coordinator::Engine> engine;
  std::string http_host;
  std::optional<gateway::HttpServer> gateway;
  std::stop_source failed;
  std::jthread engine_thread;  // ended before the gateway's: clients are told first
  std::jthread gateway_thread;
};

Front::Front(const ServeOptions& options, const ReplicaSizes& sizes, const model::Model& model,
             const ModelText& text, std::string system_fingerprint,
             std::map<std::string, std::string> labels, int world_size, zmq::context_t& context,
             comm::PlanPublisher& bus, std::uint64_t epoch, Tracer* tracer,
             std::function<void(const std::string&)> on_failure)
    : impl_(std::make_unique<Impl>(options, sizes, model, text, std::move(system_fingerprint),
                                   std::move(labels), world_size, context, bus, epoch, tracer,
                                   std::move(on_failure))) {}

Front::~Front() {
  impl_->engine_thread = {};
  impl_->gateway_thread = {};
}

std::string Front::zmq_endpoint() const { return impl_->engine->endpoints().front(); }

std::string Front::http_address() const {
  if (!impl_->gateway) return "";
  return impl_->http_host + ":" + std::to_string(impl_->gateway->port());
}

void Front::request_stop() { impl_->engine_thread.request_stop(); }

void Front::request_failure() { impl_->failed.request_stop(); }

void Front::fail() {
  request_failure();
  impl_->engine_thread.join();
}

}  // namespace lockstep::launch
