// Ctrl-C as a question instead of an end.
#pragma once

namespace lockstep::launch {

// From construction to destruction SIGINT only raises a flag. One at a time.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  bool raised() const;
  void clear();
};

}  // namespace lockstep::launch
