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

TerminationSignals::TerminationSignals(std::function<void()> on_first,
                                       std::function<void()> on_second)
    : thread_([first = std::move(on_first), second = std::move(on_second)](std::stop_token stop) {
        const sigset_t set = termination_set();
        const timespec poll{0, 100'000'000};  // how late the thread itself may end
        int seen = 0;
        while (!stop.stop_requested()) {
          if (sigtimedwait(&set, nullptr, &poll) < 0) continue;
          (seen++ == 0 ? first : second)();
        }
      }) {}

}  // namespace lockstep::launch
