// The subcommands of `lockstep`. Each adds itself to the command line and, when it is the one that
// was typed, sets `run` to what main shall do; `run` returns the exit status.
#pragma once

#include <CLI/App.hpp>
#include <functional>

namespace lockstep::launch {

using Run = std::function<int()>;

void add_serve_command(CLI::App& app, Run& run);
void add_generate_command(CLI::App& app, Run& run);
void add_plan_command(CLI::App& app, Run& run);
void add_chat_command(CLI::App& app, Run& run);

}  // namespace lockstep::launch
