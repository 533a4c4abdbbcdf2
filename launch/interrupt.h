// Ctrl-C as a question instead of an end.
#pragma once

namespace lockstep::launch {

// From construction to destruction SIGINT only raises a flag, the process's one. One at a time.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  static bool raised();
  static void clear();
  // Waits until `descriptor` can be read or has ended: true. False when the signal was raised,
  // before or meanwhile: one that comes at any moment is noticed.
  static bool wait_readable(int descriptor);
};

}  // namespace lockstep::launch
