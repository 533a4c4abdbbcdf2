// Where a rank's time goes: always as a sum for each part of a step, and as spans while a timeline
// is recorded.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "base/trace.h"
#include "comm/communicator.h"

namespace lockstep::shard {

enum class Part { product, attention, all_reduce, elementwise, sampling };

// Used by the shard's thread alone.
//
// Time inside collectives is all_reduce's, whatever phase they are called from.
class StepTimes {
 public:
  // Both must outlive this. `tracer` may be nullptr: no timeline.
  explicit StepTimes(const comm::Communicator& communicator, Tracer* tracer = nullptr)
      : communicator_(communicator), tracer_(tracer) {}

  // While it lives, time is its part's. Phases do not nest. Costs two readings of the clock.
  class Phase {
   public:
    // `name`: a string literal (TraceLabel).
    Phase(StepTimes& times, Part part, const char* name)
        : times_(times),
          part_(part),
          name_(name),
          in_collectives_(times.communicator_.time_spent()),
          began_(Tracer::Clock::now()) {}
    ~Phase() { times_.end(*this, Tracer::Clock::now()); }
    Phase(const Phase&) = delete;
    Phase& operator=(const Phase&) = delete;

   private:
    friend class StepTimes;
    StepTimes& times_;
    const Part part_;
    const char* const name_;
    const std::chrono::nanoseconds in_collectives_;  // until now
    const Tracer::Clock::time_point began_;
  };

  // A span of the timeline that is no part: around phases, or beside them.
  TraceSpan span(const char* name, std::uint64_t number) const {
    return TraceSpan(tracer_, {"shard", "step", name, static_cast<std::int64_t>(number)});
  }

  // Since the last restart().
  std::chrono::nanoseconds spent(Part part) const { return spent_[static_cast<std::size_t>(part)]; }
  void restart() { spent_ = {}; }

 private:
  void end(const Phase& phase, Tracer::Clock::time_point now) {
    const auto in_collectives = communicator_.time_spent() - phase.in_collectives_;
    spent_[static_cast<std::size_t>(Part::all_reduce)] += in_collectives;
    spent_[static_cast<std::size_t>(phase.part_)] += now - phase.began_ - in_collectives;
    if (tracer_ == nullptr) return;
    constexpr std::array kCategories = {"product", "attention", "all_reduce", "elementwise",
                                        "sampling"};
    tracer_->add({"shard", kCategories[static_cast<std::size_t>(phase.part_)], phase.name_},
                 phase.began_, now);
  }

  const comm::Communicator& communicator_;
  Tracer* const tracer_;
  std::array<std::chrono::nanoseconds, 5> spent_{};  // by Part
};

}  // namespace lockstep::shard
