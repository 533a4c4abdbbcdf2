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

// The value as it would stand on the command line. CLI11 alone would take "4" and true for the
// number of an option; its name for the option's type tells what the file must hold.
std::string as_text(const CLI::Option& option, const toml::node& value, const std::string& where) {
  const bool flag = option.get_items_expected_max() == 0;  // it stands there without a value
  const std::string type = option.get_type_name();  // "UINT", "INT:INT in [1 - 4096]", "TEXT", ...
  const bool size = type.starts_with("SIZE");
  const bool real = type.starts_with("FLOAT");
  const bool number = real || type.starts_with("INT") || type.starts_with("UINT");
  if (size || number) {
    if (const auto* integer = value.as_integer()) return std::to_string(integer->get());
  }
  if (real) {
    if (const auto* floating = value.as_floating_point()) return std::to_string(floating->get());
  }
  if (flag) {
    if (const auto* boolean = value.as_boolean()) return boolean->get() ? "true" : "false";
  } else if (!number) {
    if (const auto* text = value.as_string()) return text->get();
  }
  throw Error(where + ": " +
              (flag     ? "true or false is expected"
               : real   ? "a number is expected"
               : number ? "an integer is expected"
               : size   ? "bytes, or a string such as \"512MiB\", are expected"
                        : "a string is expected"));
}

CLI::Option* find_option(CLI::App& command, std::string key) {
  std::ranges::replace(key, '_', '-');
  if (key == "config" || key == "help") return nullptr;  // of the command line alone
  return command.get_option_no_throw("--" + key);
}

}  // namespace

void apply_toml(const std::string& path, CLI::App& command) {
  toml::table table;
  try {
    table = toml::parse_file(path);
  } catch (const toml::parse_error& error) {
    throw Error(place(path, error.source(), std::string(error.description())));
  }
  const auto typed =
      command.get_options([](const CLI::Option* option) { return option->count() > 0; });
  for (const auto& [key, value] : table) {
    const std::string name(key.str());
    const std::string where = place(path, value.source(), name);
    CLI::Option* option = find_option(command, name);
    if (option == nullptr) throw Error(where + ": there is no such option");
    const std::string text = as_text(*option, value, where);
    if (std::ranges::find(typed, option) != typed.end()) continue;  // the command line overrides
    if (option->count() > 0) throw Error(where + ": given twice, once under another spelling");
    try {
      option->add_result(text);
      option->run_callback();
    } catch (const CLI::Error& error) {
      throw Error(where + ": " + error.what());
    }
  }
}

}  // namespace lockstep::launch
