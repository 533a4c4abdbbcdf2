#include "launch/interrupt.h"

#include <csignal>

namespace lockstep::launch {
namespace {

// A signal handler can reach nothing but a global.
volatile std::sig_atomic_t raised_signals = 0;
struct sigaction previous_action;

}  // namespace

Interrupt::Interrupt() {
  raised_signals = 0;
  struct sigaction action {};
  action.sa_handler = [](int) { raised_signals = raised_signals + 1; };
  sigaction(SIGINT, &action, &previous_action);
}

Interrupt::~Interrupt() { sigaction(SIGINT, &previous_action, nullptr); }

bool Interrupt::raised() const { return raised_signals != 0; }

void Interrupt::clear() { raised_signals = 0; }

}  // namespace lockstep::launch
