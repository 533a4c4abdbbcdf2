// Where a rank's time goes: always as a sum for each part of a step, and as spans while a timeline
// is recorded; and that it goes on, where a step takes long.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

#include "base/trace.h"
#include "comm/communicator.h"
#include "comm/stage_link.h"

namespace lockstep::shard {

enum class Part { product, attention, all_reduce, elementwise, sampling };

// Used by the shard's thread alone.
//
// Time inside collectives, and for the activations of the stage before, is all_reduce's, whatever
// phase it is spent in.
class StepTimes {
 public:
  // All must outlive this. `tracer` may be nullptr: no timeline; `inlet` too: the first stage.
  explicit StepTimes(const comm::Communicator& communicator, Tracer* tracer = nullptr,
                     const comm::StageInlet* inlet = nullptr)
      : communicator_(communicator), tracer_(tracer), inlet_(inlet) {}

  // In collectives, and for activations of the stage before, since the start.
  std::chrono::nanoseconds waited() const {
    const auto collectives = communicator_.time_spent();
    return inlet_ == nullptr ? collectives : collectives + inlet_->time_spent();
  }

  // While it lives, time is its part's. Phases do not nest. Costs two readings of the clock.
  class Phase {
   public:
    // `name`: a string literal (TraceLabel).
    Phase(StepTimes& times, Part part, const char* name)
        : times_(times),
          part_(part),
          name_(name),
          waited_(times.waited()),
          began_(Tracer::Clock::now()) {
      times.made_progress(began_);
    }
    ~Phase() { times_.end(*this, Tracer::Clock::now()); }
    Phase(const Phase&) = delete;
    Phase& operator=(const Phase&) = delete;

   private:
    friend class StepTimes;
    StepTimes& times_;
    const Part part_;
    const char* const name_;
    const std::chrono::nanoseconds waited_;  // until now
    const Tracer::Clock::time_point began_;
  };

  // A part's time from `began` to now that was no phase of this thread: a device's.
  void add(Part part, const char* name, Tracer::Clock::time_point began) {
    const auto now = Tracer::Clock::now();
    spent_[static_cast<std::size_t>(part)] += now - began;
    trace(part, name, began, now);
  }

  // A span of the timeline that is no part: around phases, or beside them.
  TraceSpan span(const char* name, std::uint64_t number) const {
    return TraceSpan(tracer_, {"shard", "step", name, static_cast<std::int64_t>(number)});
  }

  // From now on calls `tell` at the beginning of a phase when `interval` has passed since the last
  // call or restart(): a step that takes long goes on. Others tell nothing.
  void tell_progress(std::chrono::nanoseconds interval, std::function<void()> tell) {
    interval_ = interval;
    tell_ = std::move(tell);
    next_sign_ = Tracer::Clock::now() + interval_;
  }
  // The step goes on: here, or in a stage that this one waits for.
  void made_progress(Tracer::Clock::time_point now) {
    if (!tell_ || now < next_sign_) return;
    next_sign_ = now + interval_;
    tell_();
  }

  // Since the last restart().
  std::chrono::nanoseconds spent(Part part) const { return spent_[static_cast<std::size_t>(part)]; }
  void restart() {
    spent_ = {};
    next_sign_ = Tracer::Clock::now() + interval_;
  }

 private:
  void end(const Phase& phase, Tracer::Clock::time_point now) {
    const auto waiting = waited() - phase.waited_;
    spent_[static_cast<std::size_t>(Part::all_reduce)] += waiting;
    spent_[static_cast<std::size_t>(phase.part_)] += now - phase.began_ - waiting;
    trace(phase.part_, phase.name_, phase.began_, now);
  }

  void trace(Part part, const char* name, Tracer::Clock::time_point began,
             Tracer::Clock::time_point now) {
    if (tracer_ == nullptr) return;
    constexpr std::array kCategories = {"product", "attention", "all_reduce", "elementwise",
                                        "sampling"};
    tracer_->add({"shard", kCategories[static_cast<std::size_t>(part)], name}, began, now);
  }

  const comm::Communicator& communicator_;
  Tracer* const tracer_;
  const comm::StageInlet* const inlet_;
  std::array<std::chrono::nanoseconds, 5> spent_{};  // by Part
  std::function<void()> tell_;                       // empty: nobody is told of progress
  std::chrono::nanoseconds interval_{0};
  Tracer::Clock::time_point next_sign_;
};

}  // namespace lockstep::shard
