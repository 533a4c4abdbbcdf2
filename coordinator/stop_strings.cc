#include "coordinator/stop_strings.h"

#include <algorithm>
#include <utility>

namespace lockstep::coordinator {

StopStringMatcher::StopStringMatcher(std::vector<std::string> stop_strings, bool include_in_output)
    : stop_strings_(std::move(stop_strings)), include_in_output_(include_in_output) {}

StopStringMatcher::Output StopStringMatcher::push(std::string_view text, bool may_match) {
  if (stop_strings_.empty()) return {std::string(text), std::nullopt};
  std::size_t end = held_.size();
  held_ += text;
  while (may_match && end++ < held_.size()) {
    const std::string* stop = longest_ending_at(end);
    if (stop == nullptr) continue;
    held_.resize(include_in_output_ ? end : end - stop->size());
    return {std::exchange(held_, {}), *stop};
  }
  const std::size_t num_safe = held_.size() - num_bytes_to_hold();
  Output output{held_.substr(0, num_safe), std::nullopt};
  held_.erase(0, num_safe);
  return output;
}

std::string StopStringMatcher::finish() { return std::exchange(held_, {}); }

const std::string* StopStringMatcher::longest_ending_at(std::size_t end) const {
  const std::string* longest = nullptr;
  const std::string_view text = std::string_view(held_).substr(0, end);
  for (const std::string& stop : stop_strings_) {
    if (text.ends_with(stop) && (longest == nullptr || stop.size() > longest->size())) {
      longest = &stop;
    }
  }
  return longest;
}

// The length of the longest end of held_ that is the beginning, but not the whole, of a stop
// string.
std::size_t StopStringMatcher::num_bytes_to_hold() const {
  std::size_t hold = 0;
  for (const std::string& stop : stop_strings_) {
    for (std::size_t length = std::min(held_.size(), stop.size() - 1); length > hold; --length) {
      if (std::string_view(held_).ends_with(std::string_view(stop).substr(0, length))) {
        hold = length;
      }
    }
  }
  return hold;
}

}  // namespace lockstep::coordinator
