#include <unistd.h>

#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>
#include <iterator>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "launch/check_output.h"
#include "launch/commands.h"
#include "launch/interrupt.h"
#include "launch/native_client.h"
#include "launch/sampling_options.h"

namespace lockstep::launch {
namespace {

constexpr int kInterrupted = 130;

struct GenerateOptions {
  ClientOptions client;
  std::optional<std::string> prompt;
  std::string prompt_file;
  std::vector<std::int32_t> token_ids;
  bool chat = false;
  bool json = false;
  bool stats = false;
};

std::string read_all(std::istream& in) {
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

std::string prompt_text(const GenerateOptions& options) {
  if (options.prompt) return *options.prompt;
  if (options.prompt_file.empty()) return read_all(std::cin);
  std::ifstream file(options.prompt_file, std::ios::binary);
  if (!file) throw Error("cannot read '" + options.prompt_file + "'");
  return read_all(file);
}

comm::GenerateRequest make_request(const GenerateOptions& options) {
  comm::GenerateRequest request = options.client.request;
  if (!options.token_ids.empty()) {
    request.prompt_token_ids = options.token_ids;
  } else if (options.chat) {
    const auto messages =
        nlohmann::json::array({{{"role", "user"}, {"content", prompt_text(options)}}});
    request.messages = messages.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  } else {
    request.prompt = prompt_text(options);
  }
  return request;
}

nlohmann::ordered_json to_json(const comm::TokenDetail& token) {
  return {{"token_id", token.token_id}, {"token", token.token}, {"logprob", token.logprob}};
}

nlohmann::ordered_json to_json(const Answer& answer) {
  const auto& [usage, timings] = std::tie(answer.done.usage, answer.done.timings);
  nlohmann::ordered_json out{{"text", answer.text},
                             {"token_ids", answer.token_ids},
                             {"finish_reason", answer.done.finish_reason},
                             {"stop_reason", answer.done.stop_reason},
                             {"usage",
                              {{"prompt_tokens", usage.prompt_tokens},
                               {"completion_tokens", usage.completion_tokens},
                               {"cached_tokens", usage.cached_tokens}}},
                             {"timings",
                              {{"queue_ms", timings.queue_ms},
                               {"prefill_ms", timings.prefill_ms},
                               {"decode_ms", timings.decode_ms},
                               {"total_ms", answer.seconds * 1000}}},
                             {"seed", answer.accepted.seed},
                             {"system_fingerprint", answer.done.system_fingerprint}};
  for (const auto& token : answer.logprobs) {
    auto entry = to_json(token.chosen);
    entry["top"] = nlohmann::ordered_json::array();
    for (const auto& other : token.top) entry["top"].push_back(to_json(other));
    out["logprobs"].push_back(std::move(entry));
  }
  return out;
}

void print_stats(const Answer& answer) {
  const auto& timings = answer.done.timings;
  const int more = answer.done.usage.completion_tokens - 1;
  std::cerr << answer.done.usage.prompt_tokens << " prompt tokens, "
            << answer.done.usage.completion_tokens << " answer tokens; first token after "
            << timings.queue_ms + timings.prefill_ms << " ms";
  if (more > 0 && timings.decode_ms > 0) {
    std::cerr << ", then " << more / timings.decode_ms * 1000 << " tokens/s";
  }
  std::cerr << "\n";
}

int print_fault(const Fault& fault) {
  std::cerr << "lockstep: " << fault.code << ": " << fault.message
            << (fault.param.empty() ? "" : " (" + fault.param + ")") << "\n";
  return 1;
}

int ask(const GenerateOptions& options, comm::GenerateRequest request, const Interrupt& interrupt) {
  NativeClient client(options.client.address, std::chrono::milliseconds(options.client.timeout_ms));
  const auto result = client.generate(
      std::move(request),
      [&](const comm::Delta& delta) {
        if (!options.json) std::cout << delta.text << std::flush;
      },
      [&] { return interrupt.raised() || !std::cout; });
  if (!result) return print_fault(result.fault());
  if (options.json) {
    std::cout << to_json(*result).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
  std::cout << "\n";
  check_output();
  if (options.stats || (!options.json && isatty(STDERR_FILENO))) print_stats(*result);
  return interrupt.raised() ? kInterrupted : 0;
}

int run_generate(const GenerateOptions& options) {
  comm::GenerateRequest request = make_request(options);  // Ctrl-C ends a wait for standard input
  const Interrupt interrupt;
  try {
    return ask(options, std::move(request), interrupt);
  } catch (const Error& error) {
    if (!interrupt.raised()) throw;
    std::cerr << "lockstep: " << error.what() << "\n";
    return kInterrupted;
  }
}

}  // namespace

void add_generate_command(CLI::App& app, Run& run) {
  auto* command = app.add_subcommand("generate", "Ask a server for one answer");
  const auto options = std::make_shared<GenerateOptions>();
  auto* text = command->add_option("--prompt", options->prompt,
                                   "The text to continue; default: standard input");
  auto* file =
      command->add_option("--prompt-file", options->prompt_file, "A file with the text to continue")
          ->check(CLI::ExistingFile);
  auto* ids =
      command->add_option("--token-ids", options->token_ids, "The prompt as token ids: 1,2,3")
          ->check(CLI::Range(0, std::numeric_limits<std::int32_t>::max()))
          ->delimiter(',');
  text->excludes(file)->excludes(ids);
  file->excludes(ids);
  add_client_options(*command, options->client);
  command
      ->add_option("--logprobs", options->client.request.sampling.logprobs,
                   "With --json: log-probabilities of each token and the n best")
      ->check(CLI::Range(0, 20));
  command->add_flag("--ignore-eos", options->client.request.ignore_eos,
                    "Go on past the end of the answer");
  command
      ->add_flag("--chat", options->chat,
                 "The prompt is a user's message to the model's chat template")
      ->excludes(ids);
  command->add_flag("--json", options->json, "Print one JSON object at the end instead of text");
  command->add_flag("--stats", options->stats,
                    "Print tokens per second, also where there is no terminal");
  command->footer(
      "Exit status: 0, 1 when the server refuses or fails or the answer cannot be written, 2 for\n"
      "usage errors, 130 after Ctrl-C.\n\n"
      "Example:\n  lockstep generate --prompt \"Once upon a time\" --max-tokens 64 --temperature "
      "0.8 --seed 7");
  command->callback([options, &run] { run = [options] { return run_generate(*options); }; });
}

}  // namespace lockstep::launch
