// A TOML file that says what options say.
#pragma once

#include <CLI/App.hpp>
#include <string>

namespace lockstep::launch {

// Gives every option of `command` that the command line left out the value that `path` has under
// its name ("max-num-seqs" or "max_num_seqs"). Throws Error naming file, line and key for a key
// that is no option or is given twice, a value of the wrong type or out of range, and bad TOML.
void apply_toml(const std::string& path, CLI::App& command);

}  // namespace lockstep::launch
