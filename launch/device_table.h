// Devices whose memory `lockstep plan` knows by name.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace lockstep::launch {

// Bytes that a CUDA device of that name has, as `nvidia-smi --query-gpu=memory.total` shows them
// with ECC on; nothing for other names.
std::optional<std::size_t> device_memory(std::string_view name);

// Whether that device has compute capability 9.0, which FA3 is for.
bool is_hopper(std::string_view name);

// "a100-40, a100-80, ..."
std::string device_names();

}  // namespace lockstep::launch
