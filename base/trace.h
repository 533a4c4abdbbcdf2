// A timeline of what the threads of a process do, in the Chrome Trace Event format (Google,
// "Trace Event Format", 2016), which Perfetto and chrome://tracing show.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

namespace lockstep {

// Where a span belongs. String literals without quotes and backslashes: they are kept as pointers
// and written as they are.
struct TraceLabel {
  const char* thread;    // the row, under the process
  const char* category;  // what Perfetto filters by
  const char* name;
  std::int64_t number = -1;  // of the step, the layer, ...; negative: none
};

// Collects the spans of one process while it records. Thread-safe.
//
// The texts of several processes make one file: beginning() of one of them, then take() of each,
// in any order. It lacks only the closing bracket, which whoever writes the file adds.
class Tracer {
 public:
  using Clock = std::chrono::steady_clock;  // common to the processes of a host

  // Spans kept; what comes after them is dropped, so that a forgotten recording ends.
  static constexpr std::size_t kMaxSpans = 1 << 20;

  // `process` is the trace's pid: the rank.
  explicit Tracer(int process) : process_(process) {}

  void start();
  void stop() { recording_ = false; }
  bool recording() const { return recording_.load(std::memory_order_relaxed); }

  // Keeps a span that has ended; drops it unless recording.
  void add(const TraceLabel& label, Clock::time_point begin, Clock::time_point end);

  std::size_t num_spans() const;

  // The array's bracket and a first event.
  std::string beginning() const;
  // The spans kept so far, as text; they are kept no longer. "" when there are none.
  std::string take();

 private:
  struct Span {
    TraceLabel label;
    Clock::time_point begin, end;
  };

  std::string process_event() const;

  const int process_;
  std::atomic<bool> recording_ = false;
  mutable std::mutex mutex_;
  std::vector<Span> spans_;  // guarded by mutex_
};

// From construction to destruction. Without a tracer, or when it does not record, it reads no
// clock.
class TraceSpan {
 public:
  TraceSpan(Tracer* tracer, const TraceLabel& label)
      : tracer_(tracer != nullptr && tracer->recording() ? tracer : nullptr), label_(label) {
    if (tracer_ != nullptr) begin_ = Tracer::Clock::now();
  }
  ~TraceSpan() {
    if (tracer_ != nullptr) tracer_->add(label_, begin_, Tracer::Clock::now());
  }
  TraceSpan(const TraceSpan&) = delete;
  TraceSpan& operator=(const TraceSpan&) = delete;

 private:
  Tracer* const tracer_;
  const TraceLabel label_;
  Tracer::Clock::time_point begin_;
};

}  // namespace lockstep
