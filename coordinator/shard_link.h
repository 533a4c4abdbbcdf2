// How the coordinator reaches its shards.
#pragma once

#include <optional>
#include <zmq.hpp>

#include "comm/message.h"

namespace lockstep::coordinator {

// One thread at a time: the engine's.
class ShardLink {
 public:
  virtual ~ShardLink() = default;

  // Sends the plan to every rank's shard. Throws Error when that is not possible.
  virtual void publish(const comm::StepPlan& plan) = 0;

  // Tells ranks that have reported every plan to wait on: others are still at work. Throws Error
  // when one of them is gone.
  virtual void reassure() = 0;

  // The next report of any rank, or nothing when none has come; never waits.
  virtual std::optional<comm::StepReport> receive() = 0;

  // Readable when receive() has something; for zmq::poll.
  virtual zmq::socket_ref pollable() = 0;
};

}  // namespace lockstep::coordinator
