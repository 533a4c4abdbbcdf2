#include "base/trace.h"

#include <cstdio>
#include <string_view>
#include <utility>

namespace lockstep {
namespace {

// The format's unit; its fraction keeps the nanoseconds.
std::string microseconds(std::chrono::nanoseconds duration) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f", static_cast<double>(duration.count()) * 1e-3);
  return text;
}

// An event about a process or a thread: its name.
std::string name_event(const char* what, int process, std::size_t thread, std::string_view name) {
  return std::string(R"({"name":")") + what + R"(","ph":"M","pid":)" + std::to_string(process) +
         R"(,"tid":)" + std::to_string(thread) + R"(,"args":{"name":")" + std::string(name) +
         R"("}})";
}

// The number of a thread's row: its place in `threads`, from 1.
std::size_t row_of(std::vector<std::string_view>& threads, std::string_view thread) {
  for (std::size_t i = 0; i < threads.size(); ++i) {
    if (threads[i] == thread) return i + 1;
  }
  threads.push_back(thread);
  return threads.size();
}

}  // namespace

void Tracer::start() {
  const std::lock_guard lock(mutex_);
  spans_.reserve(1 << 15);  // so that growing is no gap in a timeline of ordinary length
  recording_ = true;
}

void Tracer::add(const TraceLabel& label, Clock::time_point begin, Clock::time_point end) {
  if (!recording()) return;
  const std::lock_guard lock(mutex_);
  if (spans_.size() < kMaxSpans) spans_.push_back({label, begin, end});
}

std::size_t Tracer::num_spans() const {
  const std::lock_guard lock(mutex_);
  return spans_.size();
}

std::string Tracer::process_event() const {
  return name_event("process_name", process_, 0, "rank " + std::to_string(process_));
}

std::string Tracer::beginning() const { return "[\n" + process_event(); }

std::string Tracer::take() {
  std::vector<Span> spans;
  {
    const std::lock_guard lock(mutex_);
    spans = std::exchange(spans_, {});
  }
  if (spans.empty()) return "";
  std::vector<std::string_view> threads;
  std::string events;
  for (const auto& [label, begin, end] : spans) {
    events += std::string(",\n") + R"({"name":")" + label.name + R"(","cat":")" + label.category +
              R"(","ph":"X","ts":)" + microseconds(begin.time_since_epoch()) + R"(,"dur":)" +
              microseconds(end - begin) + R"(,"pid":)" + std::to_string(process_) + R"(,"tid":)" +
              std::to_string(row_of(threads, label.thread));
    if (label.number >= 0) events += R"(,"args":{"number":)" + std::to_string(label.number) + "}";
    events += "}";
  }
  std::string text = ",\n" + process_event();
  for (std::size_t i = 0; i < threads.size(); ++i) {
    text += ",\n" + name_event("thread_name", process_, i + 1, threads[i]);
  }
  return text + events;
}

}  // namespace lockstep
