#include "base/trace.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

namespace lockstep {
namespace {

using nlohmann::json;

// The events of files that lack their closing bracket.
json parse(const std::string& text) { return json::parse(text + "]"); }

std::vector<json> spans_of(const json& events) {
  std::vector<json> spans;
  for (const json& event : events) {
    if (event["ph"] == "X") spans.push_back(event);
  }
  return spans;
}

// Its end, in microseconds.
double end_of(const json& span) { return span["ts"].get<double>() + span["dur"].get<double>(); }

TEST(Tracer, WritesSpansWithAllThatIsKnownOfThem) {
  Tracer tracer(3);
  tracer.start();
  const Tracer::Clock::time_point begin{std::chrono::nanoseconds(5'000'001'500)};
  tracer.add({"shard", "product", "qkv product"}, begin, begin + std::chrono::nanoseconds(2250));
  tracer.add({"coordinator", "step", "publish", 7}, begin, begin);
  const json events = parse(tracer.beginning() + tracer.take());
  const std::vector<json> spans = spans_of(events);
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_EQ(spans[0], json({{"name", "qkv product"},
                            {"cat", "product"},
                            {"ph", "X"},
                            {"ts", 5'000'001.5},
                            {"dur", 2.25},
                            {"pid", 3},
                            {"tid", 1}}));
  EXPECT_EQ(spans[1]["args"], json({{"number", 7}}));
  EXPECT_EQ(spans[1]["tid"], 2);
  std::map<int, std::string> threads;
  for (const json& event : events) {
    if (event["name"] == "thread_name") threads[event["tid"]] = event["args"]["name"];
    if (event["name"] == "process_name") {
      EXPECT_EQ(event["args"]["name"], "rank 3");
    }
  }
  EXPECT_EQ(threads, (std::map<int, std::string>{{1, "shard"}, {2, "coordinator"}}));
}

TEST(Tracer, MakesOneArrayOfSeveralProcesses) {
  Tracer first(0), second(1), silent(2);
  for (Tracer* tracer : {&first, &second}) {
    tracer->start();
    const TraceSpan span(tracer, {"shard", "step", "step"});
  }
  EXPECT_EQ(parse(first.beginning()).size(), 1u);
  const json events = parse(first.beginning() + second.take() + silent.take() + first.take());
  const std::vector<json> spans = spans_of(events);
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_EQ(spans[0]["pid"], 1);
  EXPECT_EQ(spans[1]["pid"], 0);
}

TEST(TraceSpan, LiesInsideTheSpanAroundIt) {
  Tracer tracer(0);
  tracer.start();
  {
    const TraceSpan outer(&tracer, {"shard", "step", "outer"});
    { const TraceSpan first(&tracer, {"shard", "step", "first"}); }
    const TraceSpan second(&tracer, {"shard", "step", "second"});
  }
  std::map<std::string, json> spans;
  for (const json& span : spans_of(parse(tracer.beginning() + tracer.take()))) {
    spans[span["name"]] = span;
  }
  ASSERT_EQ(spans.size(), 3u);
  EXPECT_LE(spans["outer"]["ts"], spans["first"]["ts"]);
  EXPECT_LE(end_of(spans["first"]), spans["second"]["ts"].get<double>() + 1e-3);
  EXPECT_LE(end_of(spans["second"]), end_of(spans["outer"]) + 1e-3);
}

TEST(TraceSpan, LeavesNothingWhenNothingIsRecorded) {
  { const TraceSpan without_tracer(nullptr, {"shard", "step", "step"}); }
  Tracer tracer(0);
  { const TraceSpan before(&tracer, {"shard", "step", "before"}); }
  tracer.start();
  {
    const TraceSpan across_the_end(&tracer, {"shard", "step", "across"});
    tracer.stop();
  }
  EXPECT_EQ(tracer.num_spans(), 0u);
  EXPECT_EQ(tracer.take(), "");
}

TEST(Tracer, IsEmptyAfterTake) {
  Tracer tracer(0);
  tracer.start();
  { const TraceSpan span(&tracer, {"shard", "step", "step"}); }
  EXPECT_NE(tracer.take(), "");
  EXPECT_EQ(tracer.take(), "");
}

TEST(Tracer, TakesSpansOfManyThreads) {
  Tracer tracer(0);
  tracer.start();
  {
    std::vector<std::jthread> threads;
    for (const char* name : {"a", "b", "c", "d"}) {
      threads.emplace_back([&tracer, name] {
        for (int i = 0; i < 1000; ++i) const TraceSpan span(&tracer, {name, "test", "span", i});
      });
    }
  }
  std::map<int, int> per_thread;
  for (const json& span : spans_of(parse(tracer.beginning() + tracer.take()))) {
    per_thread[span["tid"]] += 1;
  }
  EXPECT_EQ(per_thread, (std::map<int, int>{{1, 1000}, {2, 1000}, {3, 1000}, {4, 1000}}));
}

TEST(Tracer, KeepsNoMoreThanItsLimit) {
  Tracer tracer(0);
  tracer.start();
  for (std::size_t i = 0; i < Tracer::kMaxSpans + 5; ++i) tracer.add({"a", "b", "c"}, {}, {});
  EXPECT_EQ(tracer.num_spans(), Tracer::kMaxSpans);
}

}  // namespace
}  // namespace lockstep
