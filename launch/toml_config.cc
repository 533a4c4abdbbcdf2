#include "launch/toml_config.h"

#include <toml++/toml.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <sstream>

#include "base/error.h"

namespace lockstep::launch {
namespace {

std::string place(const std::string& path, const toml::source_region& source,
                  const std::string& key) {
  std::ostringstream text;
  text << path << ":" << source.begin.line << ": " << key;
  return text.str();
}

// The value as it would stand on the command line.
std::string as_text(const toml::node& value, const std::string& where) {
  if (const auto* text = value.as_string()) return text->get();
  if (const auto* number = value.as_integer()) return std::to_string(number->get());
  if (const auto* flag = value.as_boolean()) return flag->get() ? "true" : "false";
  if (const auto* real = value.as_floating_point()) {
    std::ostringstream out;
    out << real->get();
    return out.str();
  }
  throw Error(where + ": a string, a number or a boolean is expected");
}

CLI::Option* find_option(CLI::App& command, std::string key) {
  std::ranges::replace(key, '_', '-');
  for (const std::string& name : {"--" + key, key}) {
    if (auto* option = command.get_option_no_throw(name);
        option != nullptr && key != "config" && key != "help") {
      return option;
    }
  }
  return nullptr;
}

}  // namespace

void apply_toml(const std::string& path, CLI::App& command) {
  toml::table table;
  try {
    table = toml::parse_file(path);
  } catch (const toml::parse_error& error) {
    throw Error(place(path, error.source(), std::string(error.description())));
  }
  for (const auto& [key, value] : table) {
    const std::string name(key.str());
    const std::string where = place(path, value.source(), name);
    CLI::Option* option = find_option(command, name);
    if (option == nullptr) throw Error(where + ": there is no such option");
    if (option->count() > 0) continue;  // the command line overrides
    try {
      option->add_result(as_text(value, where));
      option->run_callback();
    } catch (const CLI::Error& error) {
      throw Error(where + ": " + error.what());
    }
  }
}

}  // namespace lockstep::launch
