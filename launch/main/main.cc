// lockstep: serve a model over MPI ranks, and talk to it.
#include <CLI/CLI.hpp>
#include <iostream>
#include <string>
#include <vector>

#include "base/error.h"
#include "launch/commands.h"
#include "launch/version.h"

namespace {

constexpr int kUsageError = 2;

constexpr const char* kExamples = R"(Examples:
  mpirun -np 2 lockstep serve model.gguf --http 127.0.0.1:8000 --zmq tcp://127.0.0.1:5555
  lockstep generate --connect tcp://127.0.0.1:5555 --prompt "The capital of France is"
  lockstep chat --connect tcp://127.0.0.1:5555
  lockstep plan model.gguf)";

// What is missing; where there is a word that is nothing, it is that word that is wrong.
void print_missing(const CLI::App& app, const CLI::RequiredError& error) {
  const std::vector<std::string> unknown = app.remaining();
  if (unknown.empty()) {
    app.exit(error);
    return;
  }
  std::cerr << "lockstep: '" << unknown.front() << "' is no subcommand and no option\n"
            << "Run with --help for more information.\n";
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Lockstep: a tensor-parallel serving cluster for language models.", "lockstep");
  app.set_version_flag("--version", std::string("lockstep ") + lockstep::launch::kVersion);
  app.footer(kExamples);
  app.require_subcommand(1);
  lockstep::launch::Run run;
  lockstep::launch::add_serve_command(app, run);
  lockstep::launch::add_plan_command(app, run);
  lockstep::launch::add_generate_command(app, run);
  lockstep::launch::add_chat_command(app, run);
  try {
    app.parse(argc, argv);
  } catch (const CLI::RequiredError& error) {
    print_missing(app, error);
    return kUsageError;
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsageError;
  } catch (const lockstep::Error& error) {  // the configuration file's
    std::cerr << "lockstep: " << error.what() << "\n";
    return kUsageError;
  }
  try {
    return run();
  } catch (const std::exception& error) {
    std::cerr << "lockstep: " << error.what() << "\n";
    return 1;
  }
}
