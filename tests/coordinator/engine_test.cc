#include "coordinator/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "base/error.h"
#include "tests/coordinator/fake_shard_link.h"
#include "tests/coordinator/gated_tokenizer.h"
#include "tests/coordinator/test_client.h"

namespace lockstep::coordinator {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using testing::Collected;
using testing::fake_token;
using testing::FakeShard;
using testing::FakeShardLink;
using testing::GatedTokenizer;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::TestClient;

// An engine on a thread of its own, with shards that execute at once.
class EngineTest : public ::testing::Test {
 protected:
  EngineTest() {
    options.endpoints = {"inproc://engine", "tcp://127.0.0.1:*",
                         "ipc://@lockstep-engine-test-" + std::to_string(getpid())};
    options.scheduler = {.max_num_seqs = 8,
                         .max_num_batched_tokens = 64,
                         .max_model_len = 128,
                         .block_size = 16,
                         .num_blocks = 64};
    options.served_model_name = "letters";
    options.system_fingerprint = "fake-f32";
    options.version = "1.2.3";
    options.epoch = 9;
    options.world_size = 3;
    options.heartbeat_interval = 20ms;
  }
  ~EngineTest() override {
    tokenizer.open = true;
    if (thread.joinable()) stop();
  }

  // Before start().
  void steps_take(std::chrono::milliseconds time) {
    tamper = [time](comm::StepReport&) {
      std::this_thread::sleep_for(time);
      return true;
    };
  }
  void start() {
    shards = std::make_unique<FakeShardLink>(
        context,
        std::make_unique<FakeShard>(options.scheduler.num_blocks, options.scheduler.block_size,
                                    options.scheduler.max_num_batched_tokens),
        options.world_size);
    if (tamper) shards->tamper = tamper;
    engine = std::make_unique<Engine>(options, tokenizer, nullptr, std::vector<std::int32_t>{257},
                                      context, *shards);
    endpoints = engine->endpoints();
    thread = std::jthread([this](std::stop_token token) {
      try {
        engine->run(token, failed.get_token());
      } catch (const Error& e) {
        error = e.what();
      }
    });
  }
  // Ends the engine; its error if it had one.
  std::string stop() {
    thread.request_stop();
    thread.join();
    return error;
  }
  // The error that ends the engine by itself.
  std::string wait_for_error() {
    thread.join();
    return error;
  }

  static comm::GenerateRequest request(const std::string& id, std::int32_t max_tokens,
                                       std::uint64_t seed = 11) {
    comm::GenerateRequest r;
    r.id = id;
    r.prompt_token_ids = std::vector<std::int32_t>{1, 2, 3, 4, 5};
    r.max_tokens = max_tokens;
    r.seed = seed;
    return r;
  }
  // What the fake shards sample for it.
  static std::vector<std::int32_t> expected_tokens(const comm::GenerateRequest& r) {
    std::vector<std::int32_t> tokens;
    for (std::int32_t i = 0; i < *r.max_tokens; ++i) {
      tokens.push_back(
          fake_token(*r.seed, static_cast<std::int32_t>(r.prompt_token_ids->size()) + i));
    }
    return tokens;
  }
  static std::string expected_text(const comm::GenerateRequest& r) {
    std::string text;
    for (const std::int32_t id : expected_tokens(r)) text += static_cast<char>('a' + id % 26);
    return text;
  }
  comm::StatusReply status(TestClient& client, bool metrics = false) {
    client.send(comm::StatusRequest{"status", metrics});
    return std::get<comm::StatusReply>(client.receive());
  }

  zmq::context_t context;
  EngineOptions options;
  GatedTokenizer tokenizer;
  std::stop_source failed;
  std::function<bool(comm::StepReport&)> tamper;
  std::unique_ptr<FakeShardLink> shards;
  std::unique_ptr<Engine> engine;
  std::vector<std::string> endpoints;
  std::string error;
  std::jthread thread;
};

TEST_F(EngineTest, AnswersOverEveryKindOfEndpoint) {
  start();
  for (const std::string& endpoint : endpoints) {
    TestClient client(context, endpoint);
    const comm::GenerateRequest r = request("a", 20);
    client.send(r);
    const Collected answer = client.collect("a");
    ASSERT_TRUE(answer.done) << endpoint;
    EXPECT_EQ(answer.accepted->prompt_token_ids, *r.prompt_token_ids);
    EXPECT_EQ(answer.accepted->seed, 11u);
    EXPECT_EQ(answer.token_ids, expected_tokens(r));
    EXPECT_EQ(answer.text, expected_text(r));
    EXPECT_EQ(answer.num_deltas, 20u);
    EXPECT_EQ(answer.done->finish_reason, "length");
    EXPECT_EQ(answer.done->usage.prompt_tokens, 5);
    EXPECT_EQ(answer.done->usage.completion_tokens, 20);
    EXPECT_EQ(answer.done->system_fingerprint, "fake-f32");
  }
  EXPECT_EQ(stop(), "");
}

TEST_F(EngineTest, KeepsTheSameIdOfTwoClientsApart) {
  start();
  TestClient one(context, endpoints[0]), two(context, endpoints[1]);
  const comm::GenerateRequest first = request("same", 100, 1), second = request("same", 90, 2);
  one.send(first);
  two.send(second);
  EXPECT_EQ(one.collect("same").text, expected_text(first));
  EXPECT_EQ(two.collect("same").text, expected_text(second));
}

TEST_F(EngineTest, StopsAtAStopStringAndFreesTheSequence) {
  start();
  TestClient client(context, endpoints[0]);
  comm::GenerateRequest r = request("a", 100);
  const std::string text = expected_text(r);
  const std::string stop_string = text.substr(10, 3);
  const std::size_t at = text.find(stop_string);
  r.stop = {stop_string};
  client.send(r);
  const Collected answer = client.collect("a");
  ASSERT_TRUE(answer.done);
  EXPECT_EQ(answer.text, text.substr(0, at));
  EXPECT_EQ(answer.done->finish_reason, "stop");
  EXPECT_EQ(answer.done->stop_reason, stop_string);
  EXPECT_EQ(answer.done->usage.completion_tokens, static_cast<int>(at) + 3);
  EXPECT_EQ(status(client).blocks_used, 0);
}

// The step in which it ends has tokens behind the stop string.
TEST_F(EngineTest, DeliversAcceptedDraftsAndNoneBehindAnEnd) {
  options.scheduler.num_speculative_tokens = 30;
  start();
  TestClient client(context, endpoints[0]);
  client.send(request("whole", 100));
  const Collected whole = client.collect("whole");
  EXPECT_EQ(whole.token_ids, expected_tokens(request("whole", 100)));
  EXPECT_EQ(whole.text, expected_text(request("whole", 100)));
  EXPECT_EQ(whole.done->usage.completion_tokens, 100);
  for (int at = 5; at < 60; ++at) {
    comm::GenerateRequest r = request("a", 100);
    r.stop = {whole.text.substr(static_cast<std::size_t>(at), 3)};
    client.send(r);
    const Collected answer = client.collect("a");
    EXPECT_EQ(answer.text, whole.text.substr(0, whole.text.find(r.stop[0])));
    EXPECT_EQ(answer.done->finish_reason, "stop");
  }
  const auto report = status(client, /*metrics=*/true);
  EXPECT_EQ(report.blocks_used, 0);
  EXPECT_THAT(report.metrics,
              Not(HasSubstr("\nlockstep_spec_decode_num_accepted_tokens_total 0\n")));
  EXPECT_EQ(stop(), "");
}

TEST_F(EngineTest, StopsAtTheClientsStopToken) {
  start();
  TestClient client(context, endpoints[0]);
  comm::GenerateRequest r = request("a", 50);
  const std::int32_t stop_token = expected_tokens(r)[7];
  r.sampling.stop_token_ids = {stop_token};
  client.send(r);
  const Collected answer = client.collect("a");
  ASSERT_TRUE(answer.done);
  EXPECT_EQ(answer.done->finish_reason, "stop");
  EXPECT_EQ(answer.done->stop_reason, std::to_string(stop_token));
  EXPECT_EQ(answer.token_ids.back(), stop_token);
  EXPECT_EQ(answer.text.size() + 1, answer.token_ids.size());
}

TEST_F(EngineTest, CancelsARequest) {
  steps_take(1ms);  // so that the answer takes a while
  start();
  TestClient client(context, endpoints[0]);
  client.send(request("a", 120));
  ASSERT_TRUE(std::holds_alternative<comm::Accepted>(client.receive()));
  client.send(comm::CancelRequest{"a"});
  client.send(comm::CancelRequest{"never seen"});
  const Collected rest = client.collect("a");
  ASSERT_TRUE(rest.done);
  EXPECT_EQ(rest.done->finish_reason, "abort");
  EXPECT_LT(rest.token_ids.size(), 120u);
  EXPECT_EQ(static_cast<std::size_t>(rest.done->usage.completion_tokens), rest.token_ids.size());
  EXPECT_EQ(status(client).running, 0);
}

TEST_F(EngineTest, RefusesWithNumbersAndGoesOn) {
  start();
  TestClient client(context, endpoints[0]);
  client.send(request("long", 124));
  const Collected refused = client.collect("long");
  ASSERT_TRUE(refused.error);
  EXPECT_EQ(refused.error->fault.code, "context_length_exceeded");
  EXPECT_EQ(refused.error->fault.message,
            "prompt of 5 tokens + max_tokens 124 exceeds max_model_len 128");
  client.send_bytes("not msgpack");
  EXPECT_TRUE(std::holds_alternative<comm::ErrorReply>(client.receive()));
  client.send(request("a", 3));
  EXPECT_TRUE(client.collect("a").done);
}

TEST_F(EngineTest, RefusesAnIdThatIsStillOpen) {
  steps_take(1ms);
  start();
  TestClient client(context, endpoints[0]);
  client.send(request("a", 120));
  client.send(request("a", 120));
  const Collected refused = client.collect("a");
  ASSERT_TRUE(refused.error);
  EXPECT_EQ(refused.error->fault.param, "id");
}

TEST_F(EngineTest, RefusesWhenTheQueueIsFull) {
  options.max_queue = 2;
  options.scheduler.max_num_seqs = 1;
  start();
  shards->silent = true;
  TestClient client(context, endpoints[0]);
  for (const char* id : {"1", "2", "3"}) {
    client.send(request(id, 3));
    ASSERT_TRUE(std::holds_alternative<comm::Accepted>(client.receive()));
  }
  client.send(request("4", 3));
  const Collected refused = client.collect("4");
  ASSERT_TRUE(refused.error);
  EXPECT_EQ(refused.error->fault.code, "overloaded");
  EXPECT_THAT(refused.error->fault.message, HasSubstr("2"));
  shards->silent = false;
  EXPECT_EQ(stop(), "");
}

TEST_F(EngineTest, DropsTheRequestsOfAClientThatVanishes) {
  steps_take(1ms);
  start();
  TestClient witness(context, endpoints[0]);
  {
    TestClient client(context, endpoints[1]);
    client.send(request("a", 120));
    ASSERT_TRUE(std::holds_alternative<comm::Accepted>(client.receive()));
  }
  comm::StatusReply reply;
  for (int i = 0; i < 1000; ++i) {
    reply = status(witness, true);
    if (reply.running == 0) break;
    std::this_thread::sleep_for(1ms);
  }
  EXPECT_EQ(reply.running, 0);
  EXPECT_EQ(reply.blocks_used, 0);
  EXPECT_THAT(reply.metrics, HasSubstr("lockstep_clients_dropped_total 1"));
  EXPECT_THAT(reply.metrics, HasSubstr("lockstep_requests_total{finish_reason=\"abort\"} 1"));
}

TEST_F(EngineTest, AnswersStatusAndMetrics) {
  start();
  TestClient client(context, endpoints[0]);
  client.send(request("a", 10));
  ASSERT_TRUE(client.collect("a").done);
  const comm::StatusReply reply = status(client, true);
  EXPECT_TRUE(reply.healthy);
  EXPECT_EQ(reply.model, "letters");
  EXPECT_EQ(reply.version, "1.2.3");
  EXPECT_EQ(reply.world_size, 3);
  EXPECT_EQ(reply.epoch, 9u);
  EXPECT_GE(reply.steps, 10u);
  EXPECT_EQ(reply.blocks_total, 64);
  EXPECT_EQ(reply.max_model_len, 128);
  EXPECT_THAT(reply.metrics, AllOf(HasSubstr("lockstep_prompt_tokens_total 5"),
                                   HasSubstr("lockstep_generation_tokens_total 10"),
                                   HasSubstr("lockstep_time_to_first_token_seconds_count 1"),
                                   HasSubstr("lockstep_inter_token_latency_seconds_count 9"),
                                   HasSubstr("lockstep_requests_total{finish_reason=\"length\"} 1"),
                                   HasSubstr("lockstep_shard_wait_seconds_total{rank=\"2\"}")));
}

TEST_F(EngineTest, SendsHeartbeatsWhenIdle) {
  start();
  for (int i = 0; i < 1000 && shards->num_heartbeats < 5; ++i) std::this_thread::sleep_for(5ms);
  EXPECT_GE(shards->num_heartbeats, 5);
  EXPECT_EQ(stop(), "");
  EXPECT_TRUE(shards->shut_down);
}

TEST_F(EngineTest, EndsAndTellsClientsWhenARankComputesSomethingElse) {
  tamper = [](comm::StepReport& report) {
    if (report.rank == 2 && !report.sampled.empty()) ADD_FAILURE();
    if (report.rank == 2 && report.sequence_number == 30) report.digest = 0xbad;
    return true;
  };
  options.heartbeat_interval = 1s;
  start();
  TestClient client(context, endpoints[0]);
  client.send(request("a", 120));
  const Collected answer = client.collect("a");
  ASSERT_TRUE(answer.error);
  EXPECT_EQ(answer.error->fault.code, "replica_failed");
  EXPECT_THAT(wait_for_error(),
              AllOf(HasSubstr("digest mismatch at step 30"), HasSubstr("rank 2 has 0xbad")));
  // The tokens of the step that the ranks disagree on have not been told.
  EXPECT_LT(answer.token_ids.size(), 30u);
}

TEST_F(EngineTest, EndsWhenARankFallsSilentAndNamesIt) {
  options.shard_deadline = 100ms;
  tamper = [](comm::StepReport& report) { return report.rank != 1 || report.sequence_number < 5; };
  start();  // idle: a heartbeat finds it
  EXPECT_THAT(wait_for_error(), AllOf(HasSubstr("step 5"), HasSubstr("from rank 1")));
}

TEST_F(EngineTest, IsNotHealthyWhileARankIsStuck) {
  options.shard_deadline = 2s;
  tamper = [](comm::StepReport& report) { return report.rank != 1; };
  start();
  TestClient client(context, endpoints[0]);
  EXPECT_TRUE(status(client).healthy);
  std::this_thread::sleep_for(1100ms);
  EXPECT_FALSE(status(client).healthy);
  EXPECT_THAT(wait_for_error(), HasSubstr("rank 1"));
}

TEST_F(EngineTest, TellsOpenRequestsThatItShutsDown) {
  steps_take(1ms);
  start();
  TestClient client(context, endpoints[0]);
  client.send(request("a", 120));
  ASSERT_TRUE(std::holds_alternative<comm::Accepted>(client.receive()));
  EXPECT_EQ(stop(), "");
  const Collected rest = client.collect("a");
  ASSERT_TRUE(rest.error);
  EXPECT_EQ(rest.error->fault.code, "shutting_down");
  EXPECT_TRUE(shards->shut_down);
}

TEST_F(EngineTest, LetsOpenRequestsEndBeforeItStops) {
  options.shutdown_timeout = 60s;
  steps_take(1ms);
  start();
  TestClient client(context, endpoints[0]);
  const comm::GenerateRequest r = request("a", 120);
  client.send(r);
  ASSERT_TRUE(std::holds_alternative<comm::Accepted>(client.receive()));
  thread.request_stop();
  TestClient late(context, endpoints[0]);
  while (!status(late).stopping) std::this_thread::sleep_for(1ms);
  EXPECT_FALSE(status(late).healthy);
  late.send(request("b", 1));
  EXPECT_EQ(late.collect("b").error->fault.code, "shutting_down");
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(stop(), "");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 30s);  // it has nothing to wait for then
  const Collected answer = client.collect("a");
  ASSERT_TRUE(answer.done);
  EXPECT_EQ(answer.token_ids, expected_tokens(r));
  EXPECT_TRUE(shards->shut_down);
}

TEST_F(EngineTest, TellsRequestsThatDoNotEndInTimeThatItShutsDown) {
  options.shutdown_timeout = 200ms;
  steps_take(5ms);
  start();
  TestClient client(context, endpoints[0]);
  client.send(request("a", 120));
  ASSERT_TRUE(std::holds_alternative<comm::Accepted>(client.receive()));
  EXPECT_EQ(stop(), "");
  const Collected rest = client.collect("a");
  ASSERT_TRUE(rest.error);
  EXPECT_EQ(rest.error->fault.code, "shutting_down");
  EXPECT_GT(rest.token_ids.size(), 3u);
  EXPECT_TRUE(shards->shut_down);
}

TEST_F(EngineTest, WaitsForNoRequestsWhenARankTakesNoPlanAtAStop) {
  options.shutdown_timeout = 60s;
  start();
  TestClient client(context, endpoints[0]);
  shards->silent = true;
  client.send(request("a", 120));
  ASSERT_TRUE(std::holds_alternative<comm::Accepted>(client.receive()));
  while (shards->num_plans == 0) std::this_thread::sleep_for(1ms);
  shards->gone = true;
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_THAT(stop(), HasSubstr("rank 1 takes no plan"));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
  EXPECT_EQ(client.collect("a").error->fault.code, "replica_failed");
}

TEST_F(EngineTest, SaysThatTheReplicaHasFailedWhenARankTakesNoPlanAtAStop) {
  start();
  TestClient client(context, endpoints[0]);
  shards->silent = true;
  client.send(request("a", 120));
  ASSERT_TRUE(std::holds_alternative<comm::Accepted>(client.receive()));
  while (shards->num_plans == 0) std::this_thread::sleep_for(1ms);
  shards->gone = true;
  EXPECT_THAT(stop(), HasSubstr("rank 1 takes no plan"));
  const Collected rest = client.collect("a");
  ASSERT_TRUE(rest.error);
  EXPECT_EQ(rest.error->fault.code, "replica_failed");
}

TEST_F(EngineTest, EndsAtOnceWhenTheReplicaHasFailedElsewhere) {
  start();
  TestClient client(context, endpoints[0]);
  shards->silent = true;
  client.send(request("a", 120));
  ASSERT_TRUE(std::holds_alternative<comm::Accepted>(client.receive()));
  failed.request_stop();
  EXPECT_EQ(wait_for_error(), "");
  const Collected rest = client.collect("a");
  ASSERT_TRUE(rest.error);
  EXPECT_EQ(rest.error->fault.code, "replica_failed");
  EXPECT_FALSE(shards->shut_down);
}

TEST_F(EngineTest, TellsShardsToWaitOnWhileAStepTakesLong) {
  start();
  TestClient client(context, endpoints[0]);
  shards->silent = true;
  client.send(request("a", 20));
  for (int i = 0; i < 1000 && shards->num_reassurances < 5; ++i) std::this_thread::sleep_for(5ms);
  EXPECT_GE(shards->num_reassurances, 5);
  shards->silent = false;
  EXPECT_TRUE(client.collect("a").done);
  EXPECT_EQ(stop(), "");
}

// A prompt of this text is being tokenized until the tokenizer's gate is open.
comm::GenerateRequest long_text(const std::string& id) {
  comm::GenerateRequest r;
  r.id = id;
  r.prompt = "zz";
  r.max_tokens = 3;
  return r;
}

TEST_F(EngineTest, GoesOnWhileATextIsTokenized) {
  steps_take(1ms);
  tokenizer.open = false;
  start();
  TestClient client(context, endpoints[0]), other(context, endpoints[1]);
  const comm::GenerateRequest stream = request("stream", 120);
  client.send(stream);
  ASSERT_TRUE(std::holds_alternative<comm::Accepted>(client.receive()));
  other.send(long_text("text"));
  while (tokenizer.num_encoded == 0) std::this_thread::sleep_for(1ms);
  EXPECT_EQ(client.collect("stream").token_ids, expected_tokens(stream));
  EXPECT_EQ(status(client).waiting, 1);  // the text
  const int heartbeats = shards->num_heartbeats;
  for (int i = 0; i < 1000 && shards->num_heartbeats < heartbeats + 3; ++i) {
    std::this_thread::sleep_for(5ms);
  }
  EXPECT_GE(shards->num_heartbeats, heartbeats + 3);
  tokenizer.open = true;
  EXPECT_TRUE(other.collect("text").done);
}

TEST_F(EngineTest, CancelsARequestThatIsTokenized) {
  tokenizer.open = false;
  start();
  TestClient client(context, endpoints[0]);
  client.send(long_text("first"));
  client.send(long_text("second"));
  client.send(comm::CancelRequest{"second"});
  client.send(comm::CancelRequest{"first"});
  const Collected second = client.collect("second"), first = client.collect("first");
  ASSERT_TRUE(first.done && second.done);
  EXPECT_EQ(first.done->finish_reason, "abort");
  EXPECT_FALSE(first.accepted);
  tokenizer.open = true;
  client.send(request("third", 3));
  EXPECT_TRUE(client.collect("third").done);  // nothing more of the others
}

TEST_F(EngineTest, TellsARequestThatIsTokenizedOfAStop) {
  tokenizer.open = false;
  start();
  TestClient client(context, endpoints[0]);
  client.send(long_text("a"));
  while (tokenizer.num_encoded == 0) std::this_thread::sleep_for(1ms);
  EXPECT_EQ(stop(), "");
  EXPECT_EQ(client.collect("a").error->fault.code, "shutting_down");
  tokenizer.open = true;
}

TEST_F(EngineTest, PlacesToRunAreFreeForABurst) {
  options.max_queue = 2;  // and 8 run
  start();
  shards->silent = true;
  TestClient client(context, endpoints[0]);
  for (int i = 0; i < 10; ++i) client.send(request(std::to_string(i), 3));
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(std::holds_alternative<comm::Accepted>(client.receive())) << i;
  }
  client.send(request("one too many", 3));
  EXPECT_EQ(client.collect("one too many").error->fault.code, "overloaded");
  shards->silent = false;
}

TEST_F(EngineTest, DropsTheWaitingRequestsOfAClientThatVanishes) {
  options.scheduler.max_num_seqs = 1;
  options.client_interval = 40ms;
  start();
  shards->silent = true;
  TestClient witness(context, endpoints[0]);
  {
    TestClient client(context, endpoints[1]);
    for (const char* id : {"runs", "waits", "waits, too"}) {
      client.send(request(id, 120));
      ASSERT_TRUE(std::holds_alternative<comm::Accepted>(client.receive()));
    }
  }
  comm::StatusReply reply;
  for (int i = 0; i < 1000; ++i) {
    reply = status(witness, true);
    if (reply.running + reply.waiting == 0) break;
    std::this_thread::sleep_for(5ms);
  }
  EXPECT_EQ(reply.running + reply.waiting, 0);
  EXPECT_THAT(reply.metrics, HasSubstr("lockstep_clients_dropped_total 1"));
  shards->silent = false;
}

TEST_F(EngineTest, GivesSignsOfLifeToClientsThatWait) {
  options.client_interval = 40ms;
  start();
  shards->silent = true;
  TestClient client(context, endpoints[0]);
  client.send(request("a", 3));
  ASSERT_TRUE(std::holds_alternative<comm::Accepted>(client.receive()));
  for (int i = 0; i < 3; ++i) {
    const comm::ServerMessage message = client.receive();
    ASSERT_TRUE(std::holds_alternative<comm::Delta>(message));
    EXPECT_TRUE(std::get<comm::Delta>(message).token_ids.empty());
  }
  shards->silent = false;
  EXPECT_EQ(client.collect("a").text, expected_text(request("a", 3)));
}

TEST_F(EngineTest, CountsTokensAsTheyComeAndNoHeartbeats) {
  tamper = [](comm::StepReport& report) {
    if (!report.sampled.empty()) std::this_thread::sleep_for(1ms);
    return true;
  };
  options.scheduler.max_model_len = 1000;
  start();
  TestClient client(context, endpoints[0]);
  while (shards->num_heartbeats < 3) std::this_thread::sleep_for(1ms);
  EXPECT_THAT(status(client, true).metrics, HasSubstr("lockstep_step_seconds_count 0\n"));
  client.send(request("a", 900));
  ASSERT_TRUE(std::holds_alternative<comm::Accepted>(client.receive()));
  ASSERT_TRUE(std::holds_alternative<comm::Delta>(client.receive()));
  TestClient witness(context, endpoints[1]);
  const std::string metrics = status(witness, true).metrics;
  EXPECT_THAT(metrics, AllOf(HasSubstr("lockstep_prompt_tokens_total 5\n"),
                             Not(HasSubstr("lockstep_generation_tokens_total 0\n")),
                             Not(HasSubstr("lockstep_step_seconds_count 0\n")),
                             HasSubstr("lockstep_requests_total{finish_reason=\"length\"} 0\n")));
}

TEST_F(EngineTest, GivesTheSameAnswerInACrowdAsAlone) {
  options.scheduler.num_blocks = 20;  // so that there are preemptions
  start();
  TestClient client(context, endpoints[0]);
  std::map<std::string, comm::GenerateRequest> requests;
  std::map<std::string, Collected> answers;
  for (int i = 0; i < 40; ++i) {
    const std::string id = std::to_string(i);
    requests[id] = request(id, 20 + 2 * i, 1000 + i);
    client.send(requests[id]);
  }
  for (std::size_t num_done = 0; num_done < requests.size() && !HasFailure();) {
    const comm::ServerMessage message = client.receive();
    if (const auto* delta = std::get_if<comm::Delta>(&message))
      answers[delta->id].text += delta->text;
    if (std::holds_alternative<comm::Done>(message)) ++num_done;
  }
  for (const auto& [id, r] : requests) EXPECT_EQ(answers[id].text, expected_text(r)) << id;
  EXPECT_THAT(status(client, true).metrics, ::testing::Not(HasSubstr("preemptions_total 0\n")));
}

}  // namespace
}  // namespace lockstep::coordinator
