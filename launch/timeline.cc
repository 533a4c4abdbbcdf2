#include "launch/timeline.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "base/error.h"

namespace lockstep::launch {
namespace {

constexpr std::string_view kEnd = "\n]\n";  // of the array, and of the file at any time

// Writes `text` and the array's end to the file at once, in place of the end that is there; with
// O_TRUNC in `flags`, of all that is there. What went wrong, or "".
std::string write_file(const std::string& path, int flags, std::string text) {
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644);
  if (file < 0) return std::strerror(errno);
  text += kEnd;
  flock(file, LOCK_EX);  // until it is closed: other ranks write, too
  const off_t begin = std::max<off_t>(0, lseek(file, 0, SEEK_END) - std::ssize(kEnd));
  const ssize_t written = pwrite(file, text.data(), text.size(), begin);
  const int error = errno;
  close(file);
  if (written < 0) return std::strerror(error);
  return written == std::ssize(text) ? "" : "no space for all of it";
}

}  // namespace

Timeline::Timeline(const TimelineOptions& options, int rank, bool begins_file)
    : options_(options), rank_(rank), tracer_(rank) {
  if (begins_file) {
    const std::string error = write_file(options_.path, O_TRUNC, tracer_.beginning());
    if (!error.empty()) throw Error("the timeline's file " + options_.path + ": " + error);
  }
  if (options_.skip == 0) tracer_.start();
}

Timeline::~Timeline() {
  if (!written_) write();
}

void Timeline::step_done() {
  steps_done_ += 1;
  if (steps_done_ == options_.skip) tracer_.start();
  if (steps_done_ == std::int64_t{options_.skip} + options_.steps) write();
}

void Timeline::write() {
  tracer_.stop();
  written_ = true;
  const std::size_t spans = tracer_.num_spans();
  const std::int64_t steps =
      std::clamp<std::int64_t>(steps_done_ - options_.skip, 0, options_.steps);
  const std::string error = write_file(options_.path, 0, tracer_.take());
  if (!error.empty()) {
    spdlog::error("rank {}: the timeline's file {}: {}", rank_, options_.path, error);
    return;
  }
  spdlog::info("rank {}: {} spans of {} steps are in the timeline {}{}", rank_, spans, steps,
               options_.path, spans == Tracer::kMaxSpans ? ", which holds no more" : "");
}

}  // namespace lockstep::launch
