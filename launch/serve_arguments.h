// The arguments of `lockstep serve`.
#pragma once

#include <CLI/App.hpp>
#include <functional>

#include "launch/serve_options.h"

namespace lockstep::launch {

// Puts every option on `serve`, and --config with a TOML file of the same names. When `serve` has
// been parsed, `options` holds what was typed, else what the file says, else the default, all
// within their limits, and `done` is called. `options` must live until then. Parsing throws
// CLI::ParseError naming the option, or Error naming the file, the line and the key.
void add_serve_arguments(CLI::App& serve, ServeOptions& options, std::function<void()> done);

// Throws CLI::ValidationError naming the option of a step or a block that cannot be so large on
// that device; while it is not known (automatic), on any.
void check_step_sizes(const ServeOptions& options, Device device);

}  // namespace lockstep::launch
