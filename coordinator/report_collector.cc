#include "coordinator/report_collector.h"

#include <algorithm>
#include <map>
#include <span>
#include <sstream>
#include <string>
#include <utility>

#include "base/error.h"

namespace lockstep::coordinator {
namespace {

// REQUIRES: one report for each rank of a stage. Whoever differs from the digest that most ranks
// have is named; with no majority the first is taken as right.
void check_digests(std::span<const comm::StepReport> reports) {
  std::map<std::uint64_t, std::int32_t> votes;
  for (const comm::StepReport& report : reports) ++votes[report.digest];
  if (votes.size() == 1) return;
  std::uint64_t agreed = reports[0].digest;
  for (const auto& [digest, count] : votes) {
    if (count > votes[agreed]) agreed = digest;
  }
  std::ostringstream message;
  message << "digest mismatch at step " << reports[0].sequence_number << ": ";
  for (const comm::StepReport& report : reports) {
    if (report.digest == agreed) continue;
    message << "rank " << report.rank << " has 0x" << std::hex << report.digest << std::dec << ", ";
  }
  message << "the others have 0x" << std::hex << agreed;
  throw Error(message.str());
}

}  // namespace

ReportCollector::ReportCollector(std::int32_t world_size, std::uint64_t epoch,
                                 Clock::duration deadline, std::int32_t stages)
    : world_size_(world_size),
      stage_size_(stages > 0 ? world_size / stages : 0),
      epoch_(epoch),
      deadline_(deadline) {
  if (world_size < 1) throw Error("world_size must be at least 1");
  signs_.resize(static_cast<std::size_t>(world_size));
  if (stage_size_ < 1 || stage_size_ * stages != world_size) {
    throw Error("world_size " + std::to_string(world_size) + " cannot be cut in " +
                std::to_string(stages) + " pipeline stages of equally many ranks");
  }
}

void ReportCollector::expect(std::uint64_t sequence_number, Clock::time_point now) {
  Step step;
  step.sequence_number = sequence_number;
  step.since = now;
  step.reports.resize(world_size_);
  steps_.push_back(std::move(step));
}

std::optional<std::vector<comm::StepReport>> ReportCollector::add(comm::StepReport report,
                                                                  Clock::time_point now) {
  if (report.epoch != epoch_) return std::nullopt;
  const std::string what = "report of rank " + std::to_string(report.rank) + " for step " +
                           std::to_string(report.sequence_number);
  if (report.rank < 0 || report.rank >= world_size_) {
    throw Error(what + ": the world has " + std::to_string(world_size_) + " ranks");
  }
  const auto step = std::find_if(steps_.begin(), steps_.end(), [&](const Step& s) {
    return s.sequence_number == report.sequence_number;
  });
  if (step == steps_.end()) throw Error(what + ": no such step is in flight");
  std::optional<comm::StepReport>& slot = step->reports[report.rank];
  if (slot) throw Error(what + " came twice");
  if (report.underway) {
    signs_[static_cast<std::size_t>(report.rank)] = now;
    return std::nullopt;
  }
  slot = std::move(report);
  ++step->num_reports;
  // Every rank reports in order, so only the oldest step can become complete.
  if (step->num_reports < world_size_) return std::nullopt;
  if (step != steps_.begin()) throw Error(what + " completes it before the step before it");

  std::vector<comm::StepReport> reports;
  for (auto& complete : step->reports) reports.push_back(std::move(*complete));
  const std::span all(reports);
  for (std::int32_t first = 0; first < world_size_; first += stage_size_) {
    check_digests(
        all.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(stage_size_)));
  }
  steps_.pop_front();
  if (!steps_.empty()) steps_.front().since = now;
  ++num_completed_;
  return reports;
}

void ReportCollector::check_deadline(Clock::time_point now) const {
  if (longest_silence(now) <= deadline_) return;
  const Step& step = steps_.front();
  std::ostringstream message;
  message << "no report of step " << step.sequence_number << " within "
          << std::chrono::duration_cast<std::chrono::milliseconds>(deadline_).count()
          << " ms from rank";
  for (std::size_t rank = 0; rank < signs_.size(); ++rank) {
    if (silence(rank, now) > deadline_) message << " " << rank;
  }
  throw Error(message.str());
}

Clock::duration ReportCollector::longest_silence(Clock::time_point now) const {
  Clock::duration longest = Clock::duration::zero();
  if (steps_.empty()) return longest;
  for (std::size_t rank = 0; rank < signs_.size(); ++rank) {
    longest = std::max(longest, silence(rank, now));
  }
  return longest;
}

// REQUIRES: a step is in flight.
Clock::duration ReportCollector::silence(std::size_t rank, Clock::time_point now) const {
  const Step& step = steps_.front();
  if (step.reports[rank]) return Clock::duration::zero();
  return now - std::max(step.since, signs_[rank]);
}

}  // namespace lockstep::coordinator
