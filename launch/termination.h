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

// Waits for the signals on a thread of its own: the first calls `on_first` (stop in order), a
// second one `on_second` (stop at once).
class TerminationSignals {
 public:
  TerminationSignals(std::function<void()> on_first, std::function<void()> on_second);

 private:
  std::jthread thread_;
};

}  // namespace lockstep::launch
