// How the files of this folder report a file that is wrong.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace lockstep::model {

// Throws Error "<file>: <message>".
[[noreturn]] inline void fail(std::string_view file, std::string_view message) {
  throw Error(std::string(file).append(": ").append(message));
}

// `text` in single quotes, fit for a log: what is not printable ASCII becomes '?', and what is
// longer than 120 bytes is cut.
inline std::string in_quotes(std::string_view text) {
  constexpr std::size_t kLimit = 120;
  std::string shown = "'";
  for (const char c : text.substr(0, kLimit)) shown += c >= ' ' && c <= '~' ? c : '?';
  return shown + (text.size() > kLimit ? "...'" : "'");
}

}  // namespace lockstep::model
