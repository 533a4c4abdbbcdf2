#include "launch/interrupt.h"

#include <poll.h>

#include <cerrno>
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

bool Interrupt::raised() { return raised_signals != 0; }

void Interrupt::clear() { raised_signals = 0; }

bool Interrupt::wait_readable(int descriptor) {
  // Held back except while waiting: between a look at the flag and the wait, it would be missed.
  sigset_t only_interrupt, outside;
  sigemptyset(&only_interrupt);
  sigaddset(&only_interrupt, SIGINT);
  pthread_sigmask(SIG_BLOCK, &only_interrupt, &outside);
  pollfd item{descriptor, POLLIN, 0};
  while (!raised() && ppoll(&item, 1, nullptr, &outside) < 0 && errno == EINTR) continue;
  pthread_sigmask(SIG_SETMASK, &outside, nullptr);
  return !raised();
}

}  // namespace lockstep::launch
