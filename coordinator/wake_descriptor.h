// Wakes a thread that waits in zmq::poll.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include "base/error.h"

namespace lockstep::coordinator {

// Readable from wake() until drain(). wake() may be called by any thread.
class WakeDescriptor {
 public:
  WakeDescriptor() : descriptor_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (descriptor_ < 0) throw Error("eventfd failed");
  }
  ~WakeDescriptor() { close(descriptor_); }
  WakeDescriptor(const WakeDescriptor&) = delete;
  WakeDescriptor& operator=(const WakeDescriptor&) = delete;

  void wake() const { eventfd_write(descriptor_, 1); }
  void drain() const {
    eventfd_t count;
    eventfd_read(descriptor_, &count);
  }
  int get() const { return descriptor_; }

 private:
  int descriptor_;
};

}  // namespace lockstep::coordinator
