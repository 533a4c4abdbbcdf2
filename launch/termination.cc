#include "launch/termination.h"

#include <csignal>
#include <ctime>
#include <utility>

namespace lockstep::launch {
namespace {

sigset_t termination_set() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

void block_termination_signals() {
  const sigset_t set = termination_set();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

void ignore_broken_pipes() { std::signal(SIGPIPE, SIG_IGN); }

TerminationSignals::TerminationSignals(std::function<void(int)> on_signal)
    : thread_([on_signal = std::move(on_signal)](std::stop_token stop) {
        const sigset_t set = termination_set();
        const timespec poll{0, 100'000'000};  // how late the thread itself may end
        while (!stop.stop_requested()) {
          const int signal = sigtimedwait(&set, nullptr, &poll);
          if (signal > 0) on_signal(signal);
        }
      }) {}

}  // namespace lockstep::launch
