// `serve --trace`: the timeline of some steps, in a file.
#pragma once

#include <cstdint>
#include <string>

#include "base/trace.h"

namespace lockstep::launch {

struct TimelineOptions {
  std::string path;         // empty: no timeline
  std::int32_t steps = 10;  // recorded; those that compute something
  std::int32_t skip = 20;   // before them
};

// One rank's share. The ranks of a host write the same file: one of them begins it, then each
// appends what it has in one write over the closing bracket, so that nothing is torn and the file
// is JSON at any time.
//
// A file that cannot be written in the end is logged: the replica goes on.
class Timeline {
 public:
  // `begins_file`: empties the file and writes its beginning. No rank may have come to its first
  // step by then. Throws Error naming the file if that is not possible.
  Timeline(const TimelineOptions& options, int rank, bool begins_file);
  // Writes what there is, if the replica ends before all steps are recorded.
  ~Timeline();
  Timeline(const Timeline&) = delete;
  Timeline& operator=(const Timeline&) = delete;

  Tracer& tracer() { return tracer_; }

  // A step that computed something has ended. Starts the recording after the last to be skipped,
  // and writes it after the last to be recorded.
  void step_done();

 private:
  void write();

  const TimelineOptions options_;
  const int rank_;
  Tracer tracer_;
  std::int64_t steps_done_ = 0;
  bool written_ = false;
};

}  // namespace lockstep::launch
