#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "launch/commands.h"
#include "launch/serve.h"
#include "launch/serve_arguments.h"

namespace lockstep::launch {

void add_serve_command(CLI::App& app, Run& run) {
  auto* serve = app.add_subcommand("serve", "Serve a model: one rank of an MPI job");
  const auto options = std::make_shared<ServeOptions>();
  add_serve_arguments(*serve, *options, [options, &run] {
    run = [options] {
      // Standard output is for the line that scripts wait for.
      spdlog::set_default_logger(spdlog::stderr_color_mt("lockstep"));
      spdlog::set_level(spdlog::level::from_str(options->log_level));
      return run_serve(*options);
    };
  });
  serve->footer(
      "Prints one line beginning with \"ready\" when requests are served. SIGTERM to rank 0 (its "
      "pid\n"
      "is in that line) ends all ranks with status 0, once open requests have ended or the\n"
      "--shutdown-timeout is over; one to mpirun leaves them a second. Before that line SIGTERM\n"
      "ends them at once, with 143, and Ctrl-C with 130.\n\n"
      "Example:\n  mpirun -np 2 lockstep serve model.gguf --http 127.0.0.1:8000 --threads 1");
}

}  // namespace lockstep::launch
