// The byte format of plans and reports: one msgpack map a message, its keys named like the
// structs' fields; fields with their default value are left out.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "comm/message.h"
#include "comm/plan_socket.h"

namespace lockstep::comm {

// A longer plan or report is refused: 64 MiB hold the prompts of any step.
inline constexpr std::size_t kMaxPlanBytes = std::size_t{64} << 20;

// The same message gives the same bytes on every machine: shards digest them.
std::string encode(const StepPlan& plan);
std::string encode(const StepReport& report);
std::string encode(const Hello& hello);

// Throw Error that names the field.
StepPlan decode_step_plan(std::span<const std::byte> bytes);
StepReport decode_step_report(std::span<const std::byte> bytes);
Hello decode_hello(std::span<const std::byte> bytes);

}  // namespace lockstep::comm
