#include "shard/step_times.h"

#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

namespace lockstep::shard {
namespace {

using std::chrono::milliseconds;

TEST(StepTimes, GivesTimeToThePhasesPartAndCollectivesToAllReduce) {
  comm::spawn_ranks(2, milliseconds(20000), [](comm::Communicator& communicator) {
    StepTimes times(communicator);
    communicator.barrier("together");
    {
      const StepTimes::Phase phase(times, Part::attention, "attention");
      if (communicator.rank() == 1) std::this_thread::sleep_for(milliseconds(60));
      communicator.barrier("after attention");
    }
    const bool late = communicator.rank() == 1;
    EXPECT_GE(times.spent(late ? Part::attention : Part::all_reduce), milliseconds(30));
    EXPECT_LT(times.spent(late ? Part::all_reduce : Part::attention),
              times.spent(late ? Part::attention : Part::all_reduce));
    EXPECT_EQ(times.spent(Part::product).count(), 0);
    times.restart();
    EXPECT_EQ(times.spent(Part::attention).count(), 0);
    EXPECT_EQ(times.spent(Part::all_reduce).count(), 0);
  });
}

TEST(StepTimes, AddsUpPhasesOfOnePart) {
  comm::spawn_ranks(1, milliseconds(20000), [](comm::Communicator& communicator) {
    StepTimes times(communicator);
    for (const char* name : {"qkv product", "o product"}) {
      const StepTimes::Phase phase(times, Part::product, name);
      std::this_thread::sleep_for(milliseconds(10));
    }
    EXPECT_GE(times.spent(Part::product), milliseconds(20));
  });
}

TEST(StepTimes, TellsThatAStepGoesOnOnlyWhereItTakesLong) {
  comm::spawn_ranks(1, milliseconds(20000), [](comm::Communicator& communicator) {
    StepTimes times(communicator);
    int told = 0;
    const auto phases = [&](int count) {
      for (int i = 0; i < count; ++i) const StepTimes::Phase phase(times, Part::product, "product");
    };
    phases(1);  // nobody has asked
    times.tell_progress(milliseconds(200), [&] { ++told; });
    for (int step = 0; step < 20; ++step) {
      times.restart();
      std::this_thread::sleep_for(milliseconds(20));
      phases(10);
    }
    EXPECT_EQ(told, 0);
    std::this_thread::sleep_for(milliseconds(200));
    phases(10);
    EXPECT_EQ(told, 1);
    std::this_thread::sleep_for(milliseconds(200));
    times.made_progress(Tracer::Clock::now());
    EXPECT_EQ(told, 2);
  });
}

TEST(StepTimes, AddsTimeOfADeviceThatNoPhaseWaitedFor) {
  comm::spawn_ranks(1, milliseconds(20000), [](comm::Communicator& communicator) {
    Tracer tracer(0);
    StepTimes times(communicator, &tracer);
    tracer.start();
    times.add(Part::product, "step", Tracer::Clock::now() - milliseconds(300));
    EXPECT_GE(times.spent(Part::product), milliseconds(300));
    EXPECT_EQ(tracer.num_spans(), 1u);
  });
}

TEST(StepTimes, ShowsPhasesInTheTimelineUnderTheirPart) {
  comm::spawn_ranks(1, milliseconds(20000), [](comm::Communicator& communicator) {
    Tracer tracer(0);
    StepTimes times(communicator, &tracer);
    { const StepTimes::Phase unrecorded(times, Part::product, "unrecorded"); }
    tracer.start();
    {
      const TraceSpan layer = times.span("layer", 4);
      const StepTimes::Phase phase(times, Part::sampling, "sampling");
    }
    ASSERT_EQ(tracer.num_spans(), 2u);
    const auto events = nlohmann::json::parse(tracer.beginning() + tracer.take() + "]");
    const auto& phase = events[events.size() - 2];  // ended first
    EXPECT_EQ(phase["name"], "sampling");
    EXPECT_EQ(phase["cat"], "sampling");
    EXPECT_EQ(events.back()["name"], "layer");
    EXPECT_EQ(events.back()["args"]["number"], 4);
  });
}

}  // namespace
}  // namespace lockstep::shard
