// What `lockstep plan` prints.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "model/outline.h"
#include "shard/memory_plan.h"

namespace lockstep::launch {

// What was asked, as far as a report repeats it.
struct PlanHeading {
  std::string path;
  std::string weights;           // "bf16 (config.json)"
  std::string device;            // "h100", "cpu", "cuda"
  std::string memory;            // "79.6 GiB a device, 0.9 of it to use"
  std::size_t memory_bytes = 0;  // of a device; on CPUs of all ranks together, or of each
};

struct PlanReport {
  const PlanHeading& heading;
  const model::Outline& outline;
  const shard::StepSizes& sizes;
  std::vector<shard::MemoryPlan> plans;
  shard::Suggestions suggestions;  // only where no plan fits; for the last of them
  int hosts = 0;  // CPUs: as many hosts like this one, with a rank on each, hold it; 0: unknown

  bool any_fits() const;
};

void print_table(std::ostream& out, const PlanReport& report);
void print_json(std::ostream& out, const PlanReport& report);

}  // namespace lockstep::launch
