// Few of many cases such that properties still meet.
#pragma once

#include <cstddef>
#include <set>
#include <utility>
#include <vector>

namespace lockstep::shard {

// Cases in which all two properties meet that meet in any case: case i has the value
// properties[i][p], at least 0, of property p, and costs costs[i]. Of all cases the one comes next
// that shows the most new pairs at the least cost. Indices, in that order.
inline std::vector<std::size_t> pairwise(const std::vector<std::vector<int>>& properties,
                                         const std::vector<double>& costs) {
  using Value = std::pair<std::size_t, int>;
  std::vector<std::set<std::pair<Value, Value>>> missing;  // of each case
  for (const auto& values : properties) {
    auto& pairs = missing.emplace_back();
    for (std::size_t q = 1; q < values.size(); ++q) {
      for (std::size_t p = 0; p < q; ++p) pairs.insert({{p, values[p]}, {q, values[q]}});
    }
  }
  std::vector<std::size_t> chosen;
  for (;;) {
    std::size_t best = 0;
    const auto worth = [&](std::size_t i) {
      return static_cast<double>(missing[i].size()) / costs[i];
    };
    for (std::size_t i = 1; i < missing.size(); ++i) {
      if (worth(i) > worth(best)) best = i;
    }
    const auto shown = missing[best];
    if (shown.empty()) return chosen;
    chosen.push_back(best);
    for (auto& pairs : missing) {
      std::erase_if(pairs, [&](const auto& pair) { return shown.contains(pair); });
    }
  }
}

}  // namespace lockstep::shard
