// The ranks' reports, gathered by step and compared.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "comm/message.h"
#include "coordinator/request_times.h"

namespace lockstep::coordinator {

// Pure: the time comes from the caller.
//
// Invariant: a step is complete only when every rank has reported it, the ranks of each pipeline
// stage with the same digest, and steps become complete in order.
class ReportCollector {
 public:
  // `deadline`: how long a rank may be silent that owes the report of the oldest plan in flight,
  // counted from that plan's publication, the completion of the plan before it, or the rank's last
  // sign that it is at work, whichever is latest.
  // Stages are runs of world_size / stages ranks. Throws Error unless that is a whole number.
  ReportCollector(std::int32_t world_size, std::uint64_t epoch, Clock::duration deadline,
                  std::int32_t stages = 1);

  // Whose reports carry the tokens.
  std::int32_t first_rank_of_last_stage() const { return world_size_ - stage_size_; }

  // A plan has been published. REQUIRES: sequence numbers ascend.
  void expect(std::uint64_t sequence_number, Clock::time_point now);

  // Takes one rank's report, or sign that it is at work. When it completes the oldest step, returns
  // that step's reports by rank. Reports of another epoch are ignored: an older life of the
  // replica. Throws Error on a rank or step that is not expected, and when digests differ: it names
  // the ranks, the step, the values.
  std::optional<std::vector<comm::StepReport>> add(comm::StepReport report, Clock::time_point now);

  // Throws Error naming the step and the ranks whose report is overdue.
  void check_deadline(Clock::time_point now) const;

  // Of the ranks that owe the report of the oldest plan in flight, how long the one that has been
  // silent longest has been so; zero when there is no such plan.
  Clock::duration longest_silence(Clock::time_point now) const;

  std::size_t num_in_flight() const { return steps_.size(); }
  std::uint64_t num_completed() const { return num_completed_; }
  Clock::duration deadline() const { return deadline_; }

 private:
  struct Step {
    std::uint64_t sequence_number = 0;
    Clock::time_point since;
    std::int32_t num_reports = 0;
    std::vector<std::optional<comm::StepReport>> reports;  // by rank
  };

  Clock::duration silence(std::size_t rank, Clock::time_point now) const;

  std::int32_t world_size_;
  std::int32_t stage_size_;
  std::uint64_t epoch_;
  Clock::duration deadline_;
  std::deque<Step> steps_;                // oldest first
  std::vector<Clock::time_point> signs_;  // by rank: its last sign that it is at work
  std::uint64_t num_completed_ = 0;
};

}  // namespace lockstep::coordinator
