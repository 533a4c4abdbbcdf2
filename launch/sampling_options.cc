#include "launch/sampling_options.h"

#include <CLI/CLI.hpp>

#include "launch/argument_checks.h"

namespace lockstep::launch {

void add_client_options(CLI::App& command, ClientOptions& options) {
  auto& request = options.request;
  auto& sampling = request.sampling;
  command.add_option("--connect", options.address, "The server's --zmq address")
      ->check(check_zmq_address)
      ->capture_default_str()
      ->type_name("ADDRESS");
  command
      .add_option("--timeout-ms", options.timeout_ms,
                  "How long to wait for the server to answer at all")
      ->check(CLI::Range(1, 3'600'000))
      ->capture_default_str();
  command.add_option("--max-tokens", request.max_tokens, "Longest answer; default: what fits")
      ->check(CLI::Range(1, 1 << 24));
  command.add_option("--temperature", sampling.temperature, "0: always the most likely token")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  command.add_option("--seed", request.seed, "Makes sampling repeatable")->check(check_unsigned);
  command
      .add_option("--top-p", sampling.top_p,
                  "Sample from the smallest set with this probability, above 0 and at most 1")
      ->check(check_share);
  command.add_option("--top-k", sampling.top_k, "Sample from the k most likely tokens; 0: all")
      ->check(CLI::Range(0, 1 << 24));
  command
      .add_option("--min-p", sampling.min_p, "Leave out tokens this much less likely than the best")
      ->check(CLI::Range(0.0, 1.0));
  command.add_option("--repetition-penalty", sampling.repetition_penalty, "Above 1: repeat less");
  command
      .add_option("--presence-penalty", sampling.presence_penalty,
                  "Off tokens already in the answer")
      ->check(CLI::Range(-2.0, 2.0));
  command.add_option("--frequency-penalty", sampling.frequency_penalty, "The same, for every time")
      ->check(CLI::Range(-2.0, 2.0));
  command.add_option("--stop", request.stop, "End the answer before this text; repeatable")
      ->allow_extra_args(false);
}

}  // namespace lockstep::launch
