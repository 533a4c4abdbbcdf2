#include <readline/history.h>
#include <readline/readline.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>  // readline.h needs it
#include <cstdlib>
#include <filesystem>
#include <iostream>
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

constexpr const char* kHelp =
    "/reset        forget the conversation\n"
    "/system TEXT  set the system prompt, and forget the conversation\n"
    "/stats        show speed after each answer, or stop showing it\n"
    "/quit         leave (Ctrl-D does too); Ctrl-C ends an answer early\n";

// Readline's source of characters: Ctrl-C gives up the line, as the end of input does.
// (Interrupt is one for the whole process; readline passes no context.)
int read_byte(FILE* in) {
  unsigned char byte;
  const bool readable = Interrupt::wait_readable(fileno(in));
  return readable && read(fileno(in), &byte, 1) == 1 ? byte : EOF;
}

// Lines from a person at a terminal, with editing and a history kept in a file.
class LineReader {
 public:
  explicit LineReader(const Interrupt& interrupt)
      : interrupt_(interrupt), terminal_(isatty(STDIN_FILENO)) {
    if (!terminal_) return;
    rl_catch_signals = 0;
    rl_getc_function = read_byte;
    const char* state = std::getenv("XDG_STATE_HOME");
    const char* home = std::getenv("HOME");
    if (state == nullptr && home == nullptr) return;
    const auto folder = (state != nullptr ? std::filesystem::path(state)
                                          : std::filesystem::path(home) / ".local/state") /
                        "lockstep";
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    if (error) return;  // no history is kept, and nothing else is lost
    file_ = folder / "chat_history";
    read_history(file_.c_str());
  }
  ~LineReader() {
    if (!file_.empty()) write_history(file_.c_str());
  }

  // The next line; nothing at the end of input. Ctrl-C at the prompt gives an empty line.
  std::optional<std::string> next() {
    std::string line;
    if (!terminal_) {
      if (!std::getline(std::cin, line)) return std::nullopt;
      return line;
    }
    char* typed = readline("> ");
    if (typed == nullptr) {
      if (interrupt_.raised()) return "";
      return std::nullopt;
    }
    line = typed;
    std::free(typed);
    if (!line.empty()) add_history(line.c_str());
    return line;
  }

  bool terminal() const { return terminal_; }

 private:
  const Interrupt& interrupt_;
  bool terminal_;
  std::string file_;
};

class Chat {
 public:
  Chat(const ClientOptions& options, std::string system)
      : client_(options.address, std::chrono::milliseconds(options.timeout_ms)),
        request_(options.request),
        system_(std::move(system)) {
    reset();
  }

  int run() {
    const auto status = client_.status();
    LineReader reader(interrupt_);
    if (reader.terminal()) {
      std::cerr << status.model << " on " << status.world_size << " ranks. /help lists commands.\n";
    }
    while (auto line = reader.next()) {
      if (interrupt_.raised()) {
        interrupt_.clear();
        std::cerr << "\n(Ctrl-D or /quit leaves)\n";
        continue;
      }
      if (line->empty()) continue;
      if (line->front() == '/') {
        if (!command(*line)) return 0;
        continue;
      }
      if (!answer(*line) && !reader.terminal()) return 1;
    }
    if (reader.terminal()) std::cerr << "\n";
    return 0;
  }

 private:
  void reset() {
    messages_ = nlohmann::json::array();
    if (!system_.empty()) messages_.push_back({{"role", "system"}, {"content", system_}});
  }

  // False: leave.
  bool command(const std::string& line) {
    if (line == "/quit" || line == "/exit") return false;
    if (line == "/reset") {
      reset();
    } else if (line == "/stats") {
      stats_ = !stats_;
    } else if (line.starts_with("/system ")) {
      system_ = line.substr(8);
      reset();
    } else {
      std::cerr << (line == "/help" ? "" : "no such command: " + line + "\n") << kHelp;
    }
    return true;
  }

  // One request's boundary: a server that has gone is a fault of this request, and a person may ask
  // again when it is back.
  Result<Answer> ask(comm::GenerateRequest request) {
    try {
      return client_.generate(
          std::move(request),
          [](const comm::Delta& delta) { std::cout << delta.text << std::flush; },
          [this] { return interrupt_.raised() || !std::cout; });
    } catch (const Error& error) {
      return Fault{.code = "connection_error", .message = error.what(), .param = ""};
    }
  }

  // False when the server refused or has gone; the conversation is then as before. Throws Error
  // when the answer cannot be written.
  bool answer(const std::string& text) {
    messages_.push_back({{"role", "user"}, {"content", text}});
    comm::GenerateRequest request = request_;
    request.messages = messages_.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    interrupt_.clear();
    const auto result = ask(std::move(request));
    std::cout << "\n";
    check_output();
    if (!result) {
      messages_.erase(messages_.size() - 1);
      std::cerr << result.fault().code << ": " << result.fault().message << "\n";
      return false;
    }
    if (interrupt_.raised()) std::cerr << "(stopped)\n";
    interrupt_.clear();
    messages_.push_back({{"role", "assistant"}, {"content", result->text}});
    const int more = result->done.usage.completion_tokens - 1;
    if (stats_ && more > 0 && result->done.timings.decode_ms > 0) {
      std::cerr << result->done.usage.completion_tokens << " tokens, "
                << more / result->done.timings.decode_ms * 1000 << " tokens/s\n";
    }
    return true;
  }

  Interrupt interrupt_;
  NativeClient client_;
  comm::GenerateRequest request_;
  std::string system_;
  nlohmann::json messages_;
  bool stats_ = false;
};

}  // namespace

void add_chat_command(CLI::App& app, Run& run) {
  auto* command = app.add_subcommand("chat", "Talk to a model in the terminal");
  const auto options = std::make_shared<ClientOptions>();
  const auto system = std::make_shared<std::string>();
  add_client_options(*command, *options);
  command->add_option("--system", *system, "The system prompt; default: the model's own");
  command->footer(std::string("Commands while chatting:\n") + kHelp +
                  "\nExample:\n  lockstep chat --connect tcp://127.0.0.1:5555 --temperature 0.7");
  command->callback([options, system, &run] {
    run = [options, system] { return Chat(*options, *system).run(); };
  });
}

}  // namespace lockstep::launch
