// Options whose values have names.
#pragma once

#include <CLI/Validators.hpp>
#include <map>
#include <string>

namespace lockstep::launch {

// A transformation: a name in `values`, in any case, becomes what it stands for. Help and errors
// show the names alone, and nothing else is taken.
template <class Value>
CLI::Validator one_of(const std::map<std::string, Value>& values) {
  const CLI::IsMember known(values, CLI::ignore_case);
  const CLI::Transformer value_of(values);
  const auto take = [known, value_of](std::string& text) {
    const std::string wrong = known(text);
    return wrong.empty() ? value_of(text) : wrong;
  };
  return {take, known.get_description()};
}

}  // namespace lockstep::launch
