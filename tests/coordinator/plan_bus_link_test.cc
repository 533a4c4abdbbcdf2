// The engine over the real plan bus, with shards on threads of their own.
#include "coordinator/plan_bus_link.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <vector>

#include "comm/plan_bus.h"
#include "coordinator/engine.h"
#include "tests/coordinator/fake_shard.h"
#include "tests/coordinator/fake_tokenizer.h"
#include "tests/coordinator/test_client.h"

namespace lockstep::coordinator {
namespace {

using namespace std::chrono_literals;
using testing::fake_token;
using testing::FakeShard;
using testing::TestClient;

void run_shard(zmq::context_t& context, const comm::PlanBusAddress& address, int rank,
               const SchedulerOptions& options) {
  comm::PlanSubscriber plans(context, address, rank);
  FakeShard shard(options.num_blocks, options.block_size, options.max_num_batched_tokens);
  for (;;) {
    const comm::StepPlan plan = plans.receive(10s);
    if (plan.shutdown) return;
    comm::StepReport report = shard.execute(plan);
    report.rank = rank;
    if (rank != 0) report.sampled.clear();
    plans.send(report);
  }
}

TEST(PlanBusLink, CarriesAnAnswerFromTwoShards) {
  zmq::context_t context;
  const comm::PrivateDirectory directory;
  EngineOptions options;
  options.endpoints = {"inproc://plan-bus-link-test"};
  options.world_size = 2;
  options.epoch = 6;
  comm::PlanBusAddress address{directory.endpoint(), options.epoch, std::string(32, 'k')};
  comm::PlanPublisher publisher(context, address, options.world_size);
  address.endpoint = publisher.endpoint();
  std::vector<std::jthread> shards;
  for (int rank = 0; rank < options.world_size; ++rank) {
    shards.emplace_back(
        [&, rank, address] { run_shard(context, address, rank, options.scheduler); });
  }
  publisher.wait_for_subscribers(10s);
  PlanBusLink link(publisher);
  const testing::FakeTokenizer tokenizer = testing::letters();
  Engine engine(options, tokenizer, nullptr, {}, context, link);
  std::jthread thread([&](std::stop_token stop) { engine.run(stop); });

  TestClient client(context, options.endpoints[0]);
  comm::GenerateRequest request;
  request.id = "a";
  request.prompt_token_ids = std::vector<std::int32_t>{1, 2, 3};
  request.max_tokens = 200;
  request.seed = 8;
  client.send(request);
  const testing::Collected answer = client.collect("a");
  ASSERT_TRUE(answer.done);
  ASSERT_EQ(answer.token_ids.size(), 200u);
  for (int i = 0; i < 200; ++i) EXPECT_EQ(answer.token_ids[i], fake_token(8, 3 + i));
}

}  // namespace
}  // namespace lockstep::coordinator
