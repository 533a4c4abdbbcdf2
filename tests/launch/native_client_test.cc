#include "launch/native_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>

#include "tests/launch/scripted_server.h"

namespace lockstep::launch {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;
using testing::HasSubstr;
using Replies = std::vector<comm::ServerMessage>;

comm::GenerateRequest request() {
  comm::GenerateRequest request;
  request.prompt = "1 2";
  return request;
}

comm::Delta delta(const std::string& id, const std::string& text, std::int32_t token) {
  return {.id = id, .text = text, .token_ids = {token}, .logprobs = {}};
}

comm::Done done(const std::string& id, const std::string& reason) {
  comm::Done done;
  done.id = id;
  done.finish_reason = reason;
  return done;
}

// The id of a GenerateRequest, or nothing.
std::optional<std::string> generate_id(const comm::ClientMessage& message) {
  const auto* request = std::get_if<comm::GenerateRequest>(&message);
  return request == nullptr ? std::nullopt : std::optional(request->id);
}

std::vector<std::string> cancelled_ids(ScriptedServer& server) {
  std::vector<std::string> ids;
  for (const auto& message : server.received()) {
    if (const auto* cancel = std::get_if<comm::CancelRequest>(&message)) ids.push_back(cancel->id);
  }
  return ids;
}

// Accepts, says one word, and goes on only when the request is cancelled.
Replies endless(const comm::ClientMessage& message) {
  if (const auto id = generate_id(message)) {
    return {comm::Accepted{.id = *id, .prompt_token_ids = {7}, .seed = 5}, delta(*id, "3", 30)};
  }
  if (const auto* cancel = std::get_if<comm::CancelRequest>(&message)) {
    return {done(cancel->id, "abort")};
  }
  return {};
}

// What Error says, or "no error".
template <class Body>
std::string error_of(Body body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

const auto ignore = [](const comm::Delta&) {};
const auto never = [] { return false; };

TEST(NativeClient, PutsTheDeltasTogetherAndLeavesOtherRequestsAlone) {
  ScriptedServer server([](const comm::ClientMessage& message) -> Replies {
    const std::string id = *generate_id(message);
    return {delta("of an earlier one", "x", 1),
            comm::Accepted{id, {7, 8}, 42},
            delta(id, "3", 30),
            done("of an earlier one", "abort"),
            delta(id, " 4", 40),
            done(id, "stop")};
  });
  NativeClient client(server.endpoint(), 5s);
  std::string streamed;
  const auto answer = client.generate(
      request(), [&](const comm::Delta& part) { streamed += part.text + "|"; }, never);
  ASSERT_TRUE(answer);
  EXPECT_EQ(streamed, "3| 4|");
  EXPECT_EQ(answer->text, "3 4");
  EXPECT_EQ(answer->token_ids, (std::vector<std::int32_t>{30, 40}));
  EXPECT_EQ(answer->accepted.seed, 42u);
  EXPECT_EQ(answer->done.finish_reason, "stop");
}

TEST(NativeClient, GivesARefusalAsAFault) {
  ScriptedServer server([](const comm::ClientMessage& message) -> Replies {
    return {comm::ErrorReply{*generate_id(message), {"overloaded", "the queue is full", "queue"}}};
  });
  NativeClient client(server.endpoint(), 5s);
  const auto answer = client.generate(request(), ignore, never);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.fault().code, "overloaded");
  EXPECT_EQ(answer.fault().param, "queue");
}

TEST(NativeClient, CancelsOnceAndGivesWhatHadCome) {
  ScriptedServer server(endless);
  NativeClient client(server.endpoint(), 5s);
  bool heard = false;
  const auto answer = client.generate(
      request(), [&](const comm::Delta&) { heard = true; }, [&] { return heard; });
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->text, "3");
  EXPECT_EQ(answer->done.finish_reason, "abort");
  EXPECT_EQ(cancelled_ids(server).size(), 1u);
}

TEST(NativeClient, NamesTheAddressWhereNobodyAnswers) {
  NativeClient client("tcp://127.0.0.1:9", 200ms);
  EXPECT_EQ(error_of([&] { client.status(); }), "no answer from tcp://127.0.0.1:9 within 200 ms");
  EXPECT_EQ(error_of([&] { static_cast<void>(client.generate(request(), ignore, never)); }),
            "no answer from tcp://127.0.0.1:9 within 200 ms");
  EXPECT_THAT(error_of([] { NativeClient("nonsense", 1s); }), HasSubstr("'nonsense'"));
}

TEST(NativeClient, TakesBackARequestThatIsNotAcceptedInTime) {
  ScriptedServer server([](const comm::ClientMessage&) -> Replies { return {}; });
  NativeClient client(server.endpoint(), 200ms);
  EXPECT_THAT(error_of([&] { static_cast<void>(client.generate(request(), ignore, never)); }),
              HasSubstr("within 200 ms"));
  for (int i = 0; i < 500 && cancelled_ids(server).empty(); ++i) std::this_thread::sleep_for(10ms);
  EXPECT_EQ(cancelled_ids(server), (std::vector<std::string>{"1"}));
}

TEST(NativeClient, GivesUpACancellationThatIsNotConfirmedInTime) {
  ScriptedServer server([](const comm::ClientMessage& message) -> Replies {
    return generate_id(message) ? endless(message) : Replies{};
  });
  NativeClient client(server.endpoint(), 200ms);
  bool heard = false;
  EXPECT_THAT(error_of([&] {
                static_cast<void>(client.generate(
                    request(), [&](const comm::Delta&) { heard = true; }, [&] { return heard; }));
              }),
              HasSubstr("within 200 ms"));
  EXPECT_EQ(cancelled_ids(server).size(), 1u);
}

TEST(NativeClient, DoesNotWaitForAConnectionOnceCancelled) {
  NativeClient client("tcp://127.0.0.1:9", 60s);
  EXPECT_THAT(
      error_of([&] { static_cast<void>(client.generate(request(), ignore, [] { return true; })); }),
      HasSubstr("cancelled before tcp://127.0.0.1:9"));
}

TEST(NativeClient, NoticesAServerThatGoesHalfWay) {
  auto server = std::make_unique<ScriptedServer>(endless);
  NativeClient client(server->endpoint(), 5s);
  const auto leave = [&](const comm::Delta&) { server.reset(); };
  EXPECT_THAT(error_of([&] { static_cast<void>(client.generate(request(), leave, never)); }),
              HasSubstr("lost the connection to tcp://127.0.0.1:"));
}

TEST(NativeClient, ReadsWhatCameBeforeTheConnectionWasLost) {
  constexpr int kWords = 5000;
  auto server = std::make_unique<ScriptedServer>([](const comm::ClientMessage& message) {
    const std::string id = *generate_id(message);
    Replies replies{comm::Accepted{.id = id, .prompt_token_ids = {}, .seed = 0}};
    for (int i = 0; i < kWords; ++i) replies.push_back(delta(id, "w", i));
    replies.push_back(done(id, "length"));
    return replies;
  });
  NativeClient client(server->endpoint(), 5s);
  const auto leave = [&](const comm::Delta&) {
    if (server == nullptr) return;
    server.reset();                      // returns when all has been sent,
    std::this_thread::sleep_for(100ms);  // and the loss is known before the rest is read
  };
  const auto answer = client.generate(request(), leave, never);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->token_ids.size(), static_cast<std::size_t>(kWords));
  EXPECT_EQ(answer->done.finish_reason, "length");
}

TEST(NativeClient, FindsAServerThatHasRestarted) {
  const auto script = [](const comm::ClientMessage& message) -> Replies {
    const std::string id = *generate_id(message);
    return {comm::Accepted{.id = id, .prompt_token_ids = {}, .seed = 0}, delta(id, "w", 1),
            done(id, "stop")};
  };
  auto server = std::make_unique<ScriptedServer>(script);
  const std::string endpoint = server->endpoint();
  NativeClient client(endpoint, 5s);
  ASSERT_TRUE(client.generate(request(), ignore, never));
  server.reset();
  server = std::make_unique<ScriptedServer>(script, endpoint);
  // A call may still meet the old connection, before its end has been noticed.
  std::string text;
  for (int i = 0; i < 10 && text.empty(); ++i) {
    error_of([&] { text = client.generate(request(), ignore, never).value().text; });
  }
  EXPECT_EQ(text, "w");
}

TEST(NativeClient, SaysWhatIsWrongWithAMessageThatCannotBeRead) {
  zmq::context_t context;
  zmq::socket_t router(context, zmq::socket_type::router);
  router.bind("tcp://127.0.0.1:*");
  NativeClient client(router.get(zmq::sockopt::last_endpoint), 5s);
  const std::jthread peer([&] {
    zmq::message_t identity, frame;
    static_cast<void>(router.recv(identity));
    static_cast<void>(router.recv(frame));
    router.send(identity, zmq::send_flags::sndmore);
    router.send(zmq::str_buffer("\xc1"), zmq::send_flags::none);  // never used by msgpack
  });
  EXPECT_THAT(error_of([&] { client.status(); }), HasSubstr("sent: "));
}

}  // namespace
}  // namespace lockstep::launch
