#include "launch/device_table.h"

#include <array>

namespace lockstep::launch {
namespace {

struct KnownDevice {
  std::string_view name;
  std::size_t mebibytes;
};

constexpr std::array kDevices{KnownDevice{"l4", 23034},      KnownDevice{"rtx4090", 24564},
                              KnownDevice{"a100-40", 40960}, KnownDevice{"l40s", 46068},
                              KnownDevice{"a100-80", 81920}, KnownDevice{"h100", 81559},
                              KnownDevice{"h200", 143771},   KnownDevice{"b200", 183359}};

}  // namespace

std::optional<std::size_t> device_memory(std::string_view name) {
  for (const KnownDevice& device : kDevices) {
    if (device.name == name) return device.mebibytes << 20;
  }
  return std::nullopt;
}

bool is_hopper(std::string_view name) { return name == "h100" || name == "h200"; }

std::string device_names() {
  std::string names;
  for (const KnownDevice& device : kDevices) {
    names.append(names.empty() ? "" : ", ").append(device.name);
  }
  return names;
}

}  // namespace lockstep::launch
