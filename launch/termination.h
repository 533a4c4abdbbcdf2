// What the system ends a process by, made a server's own: SIGTERM and SIGINT, taken out of every
// thread's way.
#pragma once

#include <functional>
#include <thread>

namespace lockstep::launch {

// Blocks both signals in the calling thread and all that it starts later. Call first in main.
void block_termination_signals();

// Writing to a pipe whose reader has gone is an error of the write from here on, not the end of the
// process: a server outlives the readers of its log.
void ignore_broken_pipes();

// Waits for the signals on a thread of its own, from construction to destruction (which takes up to
// a tenth of a second), and calls `on_signal` with the number of each. One at a time; what comes
// while there is none waits for the next.
class TerminationSignals {
 public:
  explicit TerminationSignals(std::function<void(int)> on_signal);

 private:
  std::jthread thread_;
};

}  // namespace lockstep::launch
