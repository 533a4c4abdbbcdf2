#include "comm/plan_bus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <thread>

#include "base/error.h"
#include "comm/plan_codec.h"
#include "comm/random_token.h"

namespace lockstep::comm {
namespace {

using std::chrono::milliseconds;
using testing::AllOf;
using testing::HasSubstr;

constexpr milliseconds kAmple{20000};
constexpr std::uint64_t kEpoch = 7;

StepPlan plan_of(std::uint64_t number, std::uint64_t epoch = kEpoch) {
  StepPlan plan;
  plan.epoch = epoch;
  plan.sequence_number = number;
  return plan;
}

StepReport report_of(std::uint64_t number, int rank, std::uint64_t epoch = kEpoch) {
  StepReport report;
  report.epoch = epoch;
  report.sequence_number = number;
  report.rank = rank;
  return report;
}

template <class Call>
std::string failure_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

class PlanBus : public testing::Test {
 protected:
  PrivateDirectory directory_;
  zmq::context_t context_;
  const PlanBusAddress address_{directory_.endpoint(), kEpoch, random_token()};

  PlanBusAddress with_epoch(std::uint64_t epoch) const {
    return {address_.endpoint, epoch, address_.token};
  }
  PlanBusAddress with_token(const std::string& token) const {
    return {address_.endpoint, kEpoch, token};
  }
};

// A shard that answers every plan until it is told to stop. Digests tell what it received.
void answer_plans(zmq::context_t& context, const PlanBusAddress& address, int rank) {
  PlanSubscriber subscriber(context, address, rank);
  for (;;) {
    const StepPlan plan = subscriber.receive(kAmple);
    StepReport report = report_of(plan.sequence_number, rank);
    report.digest = plan.entries.size() * 1000 + rank;
    subscriber.send(report);
    if (plan.shutdown) return;
  }
}

void serve_three_shards(zmq::context_t& context, PlanBusAddress address) {
  constexpr int kRanks = 3;
  constexpr std::uint64_t kPlans = 200;
  PlanPublisher publisher(context, address, kRanks);
  address.endpoint = publisher.endpoint();
  std::vector<std::jthread> shards;
  for (int rank = 0; rank < kRanks; ++rank) {
    shards.emplace_back([&, rank] { answer_plans(context, address, rank); });
  }
  publisher.wait_for_subscribers(kAmple);
  for (std::uint64_t number = 1; number <= kPlans; ++number) {
    StepPlan plan = plan_of(number);
    plan.entries.resize(number % 5);
    plan.shutdown = number == kPlans;
    publisher.publish(plan);
    std::vector<int> reporters;
    for (int i = 0; i < kRanks; ++i) {
      const auto report = publisher.receive_report(kAmple);
      ASSERT_TRUE(report.has_value());
      EXPECT_EQ(report->sequence_number, number);
      EXPECT_EQ(report->digest, number % 5 * 1000 + report->rank);
      reporters.push_back(report->rank);
    }
    EXPECT_THAT(reporters, testing::UnorderedElementsAre(0, 1, 2));
  }
}

TEST_F(PlanBus, CarriesPlansToEveryRankAndReportsBackOverIpc) {
  serve_three_shards(context_, address_);
}

TEST_F(PlanBus, CarriesThemOverTcpWithAPortOfTheSystemsChoice) {
  serve_three_shards(context_, {"tcp://127.0.0.1:*", kEpoch, random_token()});
}

TEST_F(PlanBus, GoesOnWhenItsDirectoryIsRemovedOnceAllHaveCome) {
  PlanPublisher publisher(context_, address_, 1);
  PlanSubscriber shard(context_, address_, 0);
  publisher.wait_for_subscribers(kAmple);
  directory_.remove();
  EXPECT_FALSE(std::filesystem::exists(directory_.path()));
  publisher.publish(plan_of(1));
  EXPECT_EQ(shard.receive(kAmple).sequence_number, 1u);
  shard.send(report_of(1, 0));
  EXPECT_TRUE(publisher.receive_report(kAmple).has_value());
}

TEST_F(PlanBus, LooksForAPlanWithoutWaiting) {
  PlanPublisher publisher(context_, address_, 1);
  PlanSubscriber shard(context_, address_, 0);
  publisher.wait_for_subscribers(kAmple);
  EXPECT_FALSE(shard.poll().has_value());
  publisher.publish(plan_of(1));
  std::optional<StepPlan> plan;
  while (!plan) plan = shard.poll();
  EXPECT_EQ(plan->sequence_number, 1u);
  publisher.publish(plan_of(2));
  EXPECT_EQ(shard.receive(kAmple).sequence_number, 2u);  // both count
  EXPECT_FALSE(shard.poll().has_value());
}

TEST_F(PlanBus, NamesTheRanksThatDoNotSayHello) {
  PlanPublisher publisher(context_, address_, 3);
  PlanSubscriber one(context_, address_, 1);
  EXPECT_THAT(failure_of([&] { publisher.wait_for_subscribers(milliseconds(200)); }),
              HasSubstr("no hello from rank 0, 2 within 200 ms"));
}

TEST_F(PlanBus, IgnoresStrangers) {
  PlanPublisher publisher(context_, address_, 1);
  PlanSubscriber stale(context_, with_epoch(kEpoch - 1), 0);
  PlanSubscriber guessing(context_, with_token(random_token()), 0);
  PlanSubscriber prefix(context_, with_token(address_.token.substr(0, 31)), 0);
  PlanSubscriber beyond(context_, address_, 1);
  PlanSubscriber negative(context_, address_, -1);
  zmq::socket_t noise(context_, zmq::socket_type::dealer);
  noise.set(zmq::sockopt::linger, 0);
  noise.connect(address_.endpoint);
  noise.send(zmq::str_buffer("GET / HTTP/1.1"));
  noise.send(zmq::str_buffer("two"), zmq::send_flags::sndmore);
  noise.send(zmq::str_buffer("frames"));
  noise.send(zmq::message_t(), zmq::send_flags::none);
  EXPECT_THAT(failure_of([&] { publisher.wait_for_subscribers(milliseconds(200)); }),
              HasSubstr("no hello from rank 0"));

  PlanSubscriber honest(context_, address_, 0);
  publisher.wait_for_subscribers(kAmple);
  PlanSubscriber second(context_, address_, 0);  // a rank is heard once
  EXPECT_FALSE(publisher.receive_report(milliseconds(100)).has_value());
  publisher.publish(plan_of(1));
  EXPECT_EQ(honest.receive(kAmple).sequence_number, 1u);
  for (PlanSubscriber* stranger : {&stale, &guessing, &prefix, &beyond, &negative, &second}) {
    EXPECT_THAT(failure_of([&] { stranger->receive(milliseconds(20)); }), HasSubstr("no plan"));
  }
}

TEST_F(PlanBus, IgnoresReportsOfStrangers) {
  PlanPublisher publisher(context_, address_, 1);
  PlanSubscriber honest(context_, address_, 0);
  publisher.wait_for_subscribers(kAmple);
  PlanSubscriber stale(context_, with_epoch(kEpoch - 1), 0);
  stale.send(report_of(1, 0, kEpoch - 1));
  EXPECT_FALSE(publisher.receive_report(milliseconds(100)).has_value());
  publisher.publish(plan_of(1));
  honest.send(report_of(1, 0));
  EXPECT_TRUE(publisher.receive_report(kAmple).has_value());
}

TEST_F(PlanBus, PublishesOnlyTheNextPlanOfItsEpoch) {
  PlanPublisher publisher(context_, address_, 1);
  PlanSubscriber shard(context_, address_, 0);
  publisher.wait_for_subscribers(kAmple);
  EXPECT_THAT(failure_of([&] { publisher.publish(plan_of(2)); }),
              AllOf(HasSubstr("plan 2 of epoch 7"), HasSubstr("plan 1 of epoch 7")));
  EXPECT_THAT(failure_of([&] { publisher.publish(plan_of(1, 8)); }),
              HasSubstr("plan 1 of epoch 8"));
  publisher.publish(plan_of(1));
  EXPECT_THAT(failure_of([&] { publisher.publish(plan_of(1)); }), HasSubstr("plan 2 of epoch 7"));
}

TEST_F(PlanBus, ReceivesOnlyTheNextPlanOfItsEpoch) {
  zmq::socket_t coordinator(context_, zmq::socket_type::router);
  coordinator.set(zmq::sockopt::linger, 0);
  coordinator.bind(address_.endpoint);
  const auto deliver = [&](const std::vector<StepPlan>& plans) {
    PlanSubscriber shard(context_, address_, 2);
    zmq::message_t identity, hello;
    EXPECT_TRUE(coordinator.recv(identity));
    EXPECT_TRUE(coordinator.recv(hello));
    EXPECT_EQ(decode_hello(std::as_bytes(std::span(hello.data<char>(), hello.size()))).rank, 2);
    return failure_of([&] {
      for (const StepPlan& plan : plans) {
        coordinator.send(zmq::buffer(identity.to_string()), zmq::send_flags::sndmore);
        coordinator.send(zmq::buffer(encode(plan)));
        shard.receive(kAmple);
      }
    });
  };
  EXPECT_EQ(deliver({plan_of(1), plan_of(2)}), "");
  EXPECT_THAT(deliver({plan_of(1), plan_of(3)}), AllOf(HasSubstr("rank 2 got plan 3 of epoch 7"),
                                                       HasSubstr("plan 2 of epoch 7 is next")));
  EXPECT_THAT(deliver({plan_of(1), plan_of(1)}), HasSubstr("got plan 1 of epoch 7"));
  EXPECT_THAT(deliver({plan_of(1, 6)}), HasSubstr("got plan 1 of epoch 6"));
}

TEST_F(PlanBus, NamesTheRankWhoseReportsHaveAGap) {
  PlanPublisher publisher(context_, address_, 1);
  PlanSubscriber shard(context_, address_, 0);
  publisher.wait_for_subscribers(kAmple);
  shard.send(report_of(2, 0));
  EXPECT_THAT(failure_of([&] { publisher.receive_report(kAmple); }),
              AllOf(HasSubstr("rank 0 sent report 2 of epoch 7"),
                    HasSubstr("report 1 of epoch 7 is next")));
  shard.send(report_of(1, 0));
  EXPECT_THAT(failure_of([&] { publisher.receive_report(kAmple); }),
              HasSubstr("rank 0 sent report 1 of epoch 7, whose plan was never published"));
  EXPECT_THAT(failure_of([&] { shard.send(report_of(1, 1)); }), HasSubstr("a report of rank 1"));
  EXPECT_THAT(failure_of([&] { shard.send(report_of(1, 0, 9)); }), HasSubstr("of epoch 9"));
}

TEST_F(PlanBus, NamesTheRankThatIsGone) {
  PlanPublisher publisher(context_, address_, 2);
  PlanSubscriber stays(context_, address_, 0);
  {
    PlanSubscriber goes(context_, address_, 1);
    publisher.wait_for_subscribers(kAmple);
  }
  // ZeroMQ notices the closed connection within moments, and a plan sent before is lost with it.
  const std::string failure = failure_of([&] {
    for (std::uint64_t number = 1; number < 1000; ++number) {
      publisher.publish(plan_of(number));
      std::this_thread::sleep_for(milliseconds(5));
    }
  });
  EXPECT_THAT(failure, HasSubstr("rank 1 takes no plan"));
}

TEST_F(PlanBus, NamesTheRankThatStopsTakingPlansInsteadOfQueueingForEver) {
  PlanPublisher publisher(context_, address_, 1);
  PlanSubscriber asleep(context_, address_, 0);
  publisher.wait_for_subscribers(kAmple);
  StepPlan plan = plan_of(0);
  plan.ends.assign(1000, ~0ull);
  const std::string failure = failure_of([&] {
    for (plan.sequence_number = 1; plan.sequence_number < 100000; ++plan.sequence_number) {
      publisher.publish(plan);
    }
  });
  EXPECT_THAT(failure, HasSubstr("rank 0 takes no plan"));
  EXPECT_LT(plan.sequence_number, 5000u);
}

TEST_F(PlanBus, SaysWhatTheLastPlanWasWhenTheCoordinatorFallsSilent) {
  PlanPublisher publisher(context_, address_, 1);
  PlanSubscriber shard(context_, address_, 0);
  publisher.wait_for_subscribers(kAmple);
  publisher.publish(plan_of(1));
  shard.receive(kAmple);
  EXPECT_THAT(failure_of([&] { shard.receive(milliseconds(50)); }),
              HasSubstr("no plan within 50 ms; the last one was 1 of epoch 7"));
}

TEST_F(PlanBus, AShardWaitsOnAsLongAsTheCoordinatorSaysSo) {
  PlanPublisher publisher(context_, address_, 2);
  PlanSubscriber shard(context_, address_, 0), busy(context_, address_, 1);
  publisher.wait_for_subscribers(kAmple);
  publisher.publish(plan_of(1));
  EXPECT_EQ(shard.receive(kAmple).sequence_number, 1u);
  shard.send(report_of(1, 0));
  ASSERT_TRUE(publisher.receive_report(kAmple).has_value());
  std::jthread coordinator([&] {
    for (int i = 0; i < 20; ++i) {
      publisher.reassure();
      std::this_thread::sleep_for(milliseconds(50));
    }
    publisher.publish(plan_of(2));
  });
  EXPECT_EQ(shard.receive(milliseconds(500)).sequence_number, 2u);
  coordinator.join();
  // Nothing but plans for the one that has not reported.
  EXPECT_EQ(busy.receive(kAmple).sequence_number, 1u);
  EXPECT_EQ(busy.receive(kAmple).sequence_number, 2u);
}

TEST_F(PlanBus, ASignOfWorkIsNoReport) {
  PlanPublisher publisher(context_, address_, 1);
  PlanSubscriber shard(context_, address_, 0);
  publisher.wait_for_subscribers(kAmple);
  publisher.publish(plan_of(1));
  StepReport sign = report_of(1, 0);
  sign.underway = true;
  for (int i = 0; i < 3; ++i) shard.send(sign);
  shard.send(report_of(1, 0));
  for (const bool underway : {true, true, true, false}) {
    const auto report = publisher.receive_report(kAmple);
    ASSERT_TRUE(report.has_value());
    EXPECT_EQ(report->underway, underway);
  }
}

TEST_F(PlanBus, DropsAConnectionWhoseMessageIsTooLong) {
  PlanPublisher publisher(context_, address_, 1);
  zmq::socket_t attacker(context_, zmq::socket_type::dealer);
  attacker.set(zmq::sockopt::linger, 0);
  ASSERT_EQ(zmq_socket_monitor(attacker.handle(), "inproc://events", ZMQ_EVENT_DISCONNECTED), 0);
  zmq::socket_t events(context_, zmq::socket_type::pair);
  events.connect("inproc://events");
  events.set(zmq::sockopt::rcvtimeo, static_cast<int>(kAmple.count()));
  attacker.connect(address_.endpoint);
  attacker.send(zmq::message_t(kMaxPlanBytes + 1), zmq::send_flags::none);
  zmq::message_t event;
  EXPECT_TRUE(events.recv(event)) << "still connected";
  EXPECT_FALSE(publisher.receive_report(milliseconds(0)).has_value());
}

TEST_F(PlanBus, RefusesAPlanThatIsTooLongForTheBus) {
  PlanPublisher publisher(context_, address_, 1);
  StepPlan plan = plan_of(1);
  plan.ends.assign(kMaxPlanBytes / 9 + 1, ~0ull);
  EXPECT_THAT(failure_of([&] { publisher.publish(plan); }), HasSubstr("the limit is 67108864"));
}

TEST_F(PlanBus, SaysWhereItCannotBind) {
  EXPECT_THAT(failure_of([&] {
                PlanPublisher(context_, {"ipc:///no/such/directory/x", kEpoch, "t"}, 1);
              }),
              HasSubstr("cannot bind to 'ipc:///no/such/directory/x'"));
}

TEST(PrivateDirectory, IsForThisUserAloneAndGoesWithTheObject) {
  std::string path;
  {
    const PrivateDirectory directory;
    path = directory.path();
    struct stat status;
    ASSERT_EQ(stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0700u);
    EXPECT_EQ(directory.endpoint(), "ipc://" + path + "/plans");
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(RandomToken, Has128FreshBitsInHexadecimal) {
  const std::string token = random_token();
  EXPECT_THAT(token, testing::MatchesRegex("[0-9a-f]{32}"));
  EXPECT_NE(token, random_token());
}

}  // namespace
}  // namespace lockstep::comm
