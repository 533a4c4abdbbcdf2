// What a rank is doing, for its watchdog.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "comm/shared_label.h"

namespace lockstep::comm {

// Scopes are opened, renewed and closed by one thread; snapshot() may be called by any other.
class Activity {
 public:
  using Clock = std::chrono::steady_clock;

  struct Snapshot {
    std::string label;         // empty: idle
    std::uint64_t number = 0;  // of the step, the layer, ...
    Clock::time_point since;
    bool idle() const { return label.empty(); }
  };

  // Says what is being done while it lives. Scopes nest: the innermost is what is reported, and
  // the one around it comes back with its own start. Waiting for work is no activity.
  class Scope {
   public:
    // REQUIRES: !label.empty(); only its first SharedLabel::kMaxText bytes are kept.
    Scope(Activity& activity, std::string_view label, std::uint64_t number = 0)
        : activity_(activity), outer_(activity.label_.get()) {
      activity_.label_.set(label, number, Clock::now().time_since_epoch().count());
    }
    ~Scope() { activity_.label_.set(outer_.text, outer_.number, outer_.time); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Activity& activity_;
    const SharedLabel::Value outer_;
  };

  // What is being done goes on as it should: its time counts from now.
  void renew() {
    const SharedLabel::Value now = label_.get();
    label_.set(now.text, now.number, Clock::now().time_since_epoch().count());
  }

  Snapshot snapshot() const {
    SharedLabel::Value value = label_.get();
    return {std::move(value.text), value.number, Clock::time_point(Clock::duration(value.time))};
  }

 private:
  SharedLabel label_;
};

}  // namespace lockstep::comm
