#include "gateway/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "base/error.h"
#include "tests/gateway/server_fixture.h"

namespace lockstep::gateway {
namespace {

using nlohmann::json;
using std::chrono_literals::operator""ms;
using testing::AllOf;
using testing::HasSubstr;
using testing::SizeIs;
using testing::StartsWith;

const char* const kPrompt = R"({"model": "tiny", "prompt": "Hi"})";
const char* const kStreamedPrompt = R"({"model": "tiny", "prompt": "Hi", "stream": true})";
const char* const kChat = R"({"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]})";

// The events of a stream that must be whole, [DONE] left out.
std::vector<json> chunks_of(const ClientResponse& response) {
  EXPECT_EQ(response.status, 200);
  EXPECT_TRUE(response.complete);
  std::vector<std::string> data = event_data(response.body);
  if (data.empty() || data.back() != "[DONE]") {
    ADD_FAILURE() << "the stream does not end with [DONE]: " << response.body;
    return {};
  }
  data.pop_back();
  std::vector<json> chunks;
  for (const std::string& text : data) chunks.push_back(json::parse(text));
  return chunks;
}

TEST(HttpServer, AnswersACompletion) {
  ServerFixture fixture;
  const ClientResponse response = fixture.post("/v1/completions", kPrompt);
  ASSERT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(response.headers.at("content-type"), "application/json");
  json answer = response.json();
  EXPECT_THAT(answer["id"].get<std::string>(), StartsWith("cmpl-"));
  EXPECT_EQ(answer["id"], response.headers.at("x-request-id"));
  EXPECT_EQ(answer["choices"][0]["text"], "Hello, world!");
  EXPECT_EQ(answer["usage"]["total_tokens"], 3 + 2);
  const auto requests = fixture.coordinator.wait_for_requests(1);
  ASSERT_THAT(requests, SizeIs(1));
  EXPECT_EQ(requests[0].prompt, "Hi");
}

TEST(HttpServer, AnswersAChat) {
  ServerFixture fixture;
  const ClientResponse response = fixture.post("/v1/chat/completions", kChat);
  ASSERT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(response.json()["choices"][0]["message"]["content"], "Hello, world!");
  EXPECT_EQ(fixture.coordinator.wait_for_requests(1)[0].messages,
            R"([{"role":"user","content":"Hi"}])");
}

TEST(HttpServer, StreamsAChatWithItsUsage) {
  ServerFixture fixture;
  const ClientResponse response = fixture.post(
      "/v1/chat/completions",
      R"({"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "stream": true,
          "stream_options": {"include_usage": true}})");
  EXPECT_THAT(response.headers.at("content-type"), StartsWith("text/event-stream"));
  const std::vector<json> chunks = chunks_of(response);
  ASSERT_THAT(chunks, SizeIs(5));
  EXPECT_EQ(chunks[0]["choices"][0]["delta"]["role"], "assistant");
  EXPECT_EQ(chunks[1]["choices"][0]["delta"]["content"], "Hello,");
  EXPECT_EQ(chunks[2]["choices"][0]["delta"]["content"], " world!");
  EXPECT_EQ(chunks[3]["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(chunks[3]["usage"], nullptr);
  EXPECT_EQ(chunks[4]["choices"], json::array());
  EXPECT_EQ(chunks[4]["usage"]["completion_tokens"], 2);
}

TEST(HttpServer, SendsEachDeltaWhenItComes) {
  ServerFixture fixture(accepting_script());
  HttpClient client(fixture.port());
  client.send(post_text("/v1/completions", kStreamedPrompt));
  const std::string id = fixture.coordinator.wait_for_requests(1).at(0).id;
  client.read_until("\r\n\r\n");
  fixture.coordinator.send(delta_reply(id, "one", 1));
  EXPECT_THAT(client.read_until("\n\n"), HasSubstr("\"one\""));
  fixture.coordinator.send(delta_reply(id, "two", 2));
  EXPECT_THAT(client.read_until("\n\n"), HasSubstr("\"two\""));
  fixture.coordinator.send(done_reply(id, 2));
  EXPECT_THAT(client.read_until("0\r\n\r\n"), HasSubstr("[DONE]"));
}

TEST(HttpServer, GivesNChoicesWithSeedsThatCountOn) {
  ServerFixture fixture;
  const json answer =
      fixture.post("/v1/completions", R"({"model": "tiny", "prompt": "Hi", "n": 2, "seed": 40})")
          .json();
  ASSERT_THAT(answer["choices"], SizeIs(2));
  EXPECT_EQ(answer["choices"][1]["index"], 1);
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 3);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 4);
  const auto requests = fixture.coordinator.wait_for_requests(2);
  ASSERT_THAT(requests, SizeIs(2));
  EXPECT_EQ(requests[0].seed, 40u);
  EXPECT_EQ(requests[1].seed, 41u);
  EXPECT_NE(requests[0].id, requests[1].id);
}

TEST(HttpServer, KeepsAConnectionForFurtherRequests) {
  ServerFixture fixture;
  HttpClient client(fixture.port());
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(client.post("/v1/completions", kPrompt).status, 200);
    EXPECT_EQ(chunks_of(client.post("/v1/completions", kStreamedPrompt)).size(), 3u);
  }
}

TEST(HttpServer, AnswersPipelinedRequestsInTheirOrder) {
  ServerFixture fixture;
  HttpClient client(fixture.port());
  client.send(post_text("/v1/completions", kStreamedPrompt) +
              post_text("/v1/completions", kPrompt) +
              "GET /version HTTP/1.1\r\nHost: test\r\n\r\n");
  EXPECT_EQ(chunks_of(client.read()).size(), 3u);
  EXPECT_EQ(client.read().json()["choices"][0]["text"], "Hello, world!");
  EXPECT_EQ(client.read().json()["version"], "1.2.3");
}

TEST(HttpServer, StreamsToHttp10UntilTheConnectionEnds) {
  ServerFixture fixture;
  HttpClient client(fixture.port());
  const std::string body = kStreamedPrompt;
  client.send(
      "POST /v1/completions HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: " +
      std::to_string(body.size()) + "\r\n\r\n" + body);
  const ClientResponse response = client.read();
  EXPECT_FALSE(response.headers.contains("transfer-encoding"));
  EXPECT_EQ(chunks_of(response).size(), 3u);
}

TEST(HttpServer, CancelsWhenAStreamingClientLeaves) {
  ServerFixture fixture(accepting_script());
  HttpClient client(fixture.port());
  client.send(post_text("/v1/completions", kStreamedPrompt));
  const std::string id = fixture.coordinator.wait_for_requests(1).at(0).id;
  client.read_until("\r\n\r\n");
  client.close();
  EXPECT_EQ(fixture.coordinator.wait_for_cancels(1), std::vector{id});
}

TEST(HttpServer, CancelsAllChoicesWhenAWaitingClientLeaves) {
  FakeCoordinator::Script silent = friendly_script();
  silent.generate = [](const auto&) { return FakeCoordinator::Messages{}; };
  ServerFixture fixture(silent);
  HttpClient client(fixture.port());
  client.send(post_text("/v1/completions", R"({"model": "tiny", "prompt": "Hi", "n": 3})"));
  const auto requests = fixture.coordinator.wait_for_requests(3);
  ASSERT_THAT(requests, SizeIs(3));
  client.close();
  EXPECT_THAT(fixture.coordinator.wait_for_cancels(3),
              testing::UnorderedElementsAre(requests[0].id, requests[1].id, requests[2].id));
}

TEST(HttpServer, CancelsTheOtherChoicesWhenOneIsRefused) {
  FakeCoordinator::Script script = friendly_script();
  std::atomic<int> count = 0;
  script.generate = [&count](const comm::GenerateRequest& request) -> FakeCoordinator::Messages {
    if (++count == 2) return {comm::ErrorReply{request.id, {"overloaded", "queue is full", ""}}};
    return {accepted_reply(request.id)};
  };
  ServerFixture fixture(script);
  const ClientResponse response = fixture.post(
      "/v1/completions", R"({"model": "tiny", "prompt": "Hi", "n": 2, "stream": true})");
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(response.json()["error"]["code"], "overloaded");
  EXPECT_EQ(fixture.coordinator.wait_for_cancels(1).size(), 1u);
}

TEST(HttpServer, MapsFaultsOfTheBackendToStatuses) {
  struct Case {
    const char* code;
    int status;
    bool retry;
  };
  for (const Case& c :
       {Case{"invalid_request_error", 400, false}, Case{"context_length_exceeded", 400, false},
        Case{"overloaded", 503, true}, Case{"replica_failed", 503, true},
        Case{"shutting_down", 503, true}, Case{"what_is_this", 500, false}}) {
    FakeCoordinator::Script script = friendly_script();
    script.generate = [&c](const comm::GenerateRequest& request) -> FakeCoordinator::Messages {
      return {comm::ErrorReply{request.id, {c.code, "because", "prompt"}}};
    };
    ServerFixture fixture(script);
    for (const char* body : {kPrompt, kStreamedPrompt}) {
      const ClientResponse response = fixture.post("/v1/completions", body);
      EXPECT_EQ(response.status, c.status) << c.code;
      EXPECT_EQ(response.headers.contains("retry-after"), c.retry) << c.code;
      EXPECT_EQ(response.json()["error"]["message"], "because");
      EXPECT_EQ(response.json()["error"]["param"], "prompt");
    }
  }
}

TEST(HttpServer, EndsABegunStreamWithAnErrorEvent) {
  ServerFixture fixture(accepting_script());
  HttpClient client(fixture.port());
  client.send(post_text("/v1/completions", kStreamedPrompt));
  const std::string id = fixture.coordinator.wait_for_requests(1).at(0).id;
  EXPECT_THAT(client.read_until("\r\n\r\n"), StartsWith("HTTP/1.1 200"));
  fixture.coordinator.send(comm::ErrorReply{id, {"replica_failed", "rank 1 died", ""}});
  const std::string rest = client.read_until("0\r\n\r\n");
  EXPECT_THAT(rest, AllOf(HasSubstr("data: {\"error\":"), HasSubstr("rank 1 died")));
  EXPECT_THAT(rest, testing::Not(HasSubstr("[DONE]")));
  EXPECT_TRUE(client.sees_end());
}

TEST(HttpServer, RefusesToCallAnAnswerWithAHoleComplete) {
  FakeCoordinator::Script script = friendly_script();
  script.generate = [](const comm::GenerateRequest& request) -> FakeCoordinator::Messages {
    return {accepted_reply(request.id), delta_reply(request.id, "one", 1),
            done_reply(request.id, /*completion_tokens=*/2)};
  };
  ServerFixture fixture(script);
  const ClientResponse response = fixture.post("/v1/completions", kPrompt);
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(response.json()["error"]["code"], "replica_failed");
}

TEST(HttpServer, GivesUpOnAnAnswerThatTakesTooLong) {
  HttpOptions options = test_options();
  options.request_timeout = 50ms;
  ServerFixture fixture(accepting_script(), options);
  const ClientResponse response = fixture.post("/v1/completions", kPrompt);
  EXPECT_EQ(response.status, 504);
  EXPECT_EQ(response.json()["error"]["code"], "timeout");
  EXPECT_EQ(fixture.coordinator.wait_for_cancels(1).size(), 1u);
}

TEST(HttpServer, CutsAStreamOnlyWhenNothingMoreComes) {
  HttpOptions options = test_options();
  options.request_timeout = 600ms;
  ServerFixture fixture(accepting_script(), options);
  HttpClient client(fixture.port());
  client.send(post_text("/v1/completions", kStreamedPrompt));
  const std::string id = fixture.coordinator.wait_for_requests(1).at(0).id;
  for (std::int32_t token = 1; token <= 5; ++token) {  // a second in all
    std::this_thread::sleep_for(200ms);
    fixture.coordinator.send(delta_reply(id, "word", token));
    EXPECT_THAT(client.read_until("\n\n"), HasSubstr("\"word\"")) << token;
  }
  const std::string rest = client.read_until("0\r\n\r\n");
  EXPECT_THAT(rest, AllOf(HasSubstr("\"timeout\""), HasSubstr("within 600 ms")));
  EXPECT_EQ(fixture.coordinator.wait_for_cancels(1), std::vector{id});
}

TEST(HttpServer, GivesUpOnABackendThatIsSilent) {
  HttpOptions options = test_options();
  options.backend_timeout = 80ms;
  FakeCoordinator::Script dead;
  dead.generate = [](const auto&) { return FakeCoordinator::Messages{}; };
  dead.status = [](const auto&) { return std::nullopt; };
  ServerFixture fixture(dead, options);
  const ClientResponse response = fixture.post("/v1/completions", kPrompt);
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(response.json()["error"]["code"], "replica_failed");
}

TEST(HttpServer, FailsOnlyTheRequestWhoseAnswerCannotBeRead) {
  ServerFixture fixture(accepting_script());
  HttpClient first(fixture.port()), second(fixture.port());
  first.send(post_text("/v1/completions", kPrompt));
  const std::string broken = fixture.coordinator.wait_for_requests(1).at(0).id;
  second.send(post_text("/v1/completions", kPrompt));
  const std::string whole = fixture.coordinator.wait_for_requests(2).at(1).id;
  fixture.coordinator.send(delta_reply(broken, "\xff", 1));  // not UTF-8
  const ClientResponse response = first.read();
  EXPECT_EQ(response.status, 503);
  EXPECT_THAT(response.body, HasSubstr("could not be read"));
  EXPECT_EQ(fixture.coordinator.wait_for_cancels(1), std::vector{broken});
  fixture.coordinator.send(done_reply(whole, 0));
  EXPECT_EQ(second.read().status, 200);
}

TEST(HttpServer, WaitsForABackendThatIsSlowButTellsItsStatus) {
  HttpOptions options = test_options();
  options.backend_timeout = 80ms;
  ServerFixture fixture(accepting_script(), options);
  HttpClient client(fixture.port());
  client.send(post_text("/v1/completions", kPrompt));
  const std::string id = fixture.coordinator.wait_for_requests(1).at(0).id;
  std::this_thread::sleep_for(300ms);
  fixture.coordinator.send(done_reply(id, 0));
  EXPECT_EQ(client.read().status, 200);
}

TEST(HttpServer, FailsRequestsOfAReplicaThatWasRestarted) {
  HttpOptions options = test_options();
  options.backend_timeout = 80ms;
  FakeCoordinator::Script script = accepting_script();
  std::atomic<int> count = 0;
  script.status = [&count](const comm::StatusRequest& request) {
    comm::StatusReply status = healthy_status(request.id);
    status.epoch = ++count < 3 ? 1 : 2;
    return std::optional(status);
  };
  ServerFixture fixture(script, options);
  const ClientResponse response = fixture.post("/v1/completions", kPrompt);
  EXPECT_EQ(response.status, 503);
  EXPECT_THAT(response.body, HasSubstr("restarted"));
}

TEST(HttpServer, ServesFiftyStreamsAtOnce) {
  ServerFixture fixture(accepting_script());
  std::vector<std::unique_ptr<HttpClient>> clients;
  for (int i = 0; i < 50; ++i) {
    clients.push_back(std::make_unique<HttpClient>(fixture.port()));
    json body = json::parse(kStreamedPrompt);
    body["prompt"] = std::to_string(i);
    clients.back()->send(post_text("/v1/completions", body.dump()));
  }
  const auto requests = fixture.coordinator.wait_for_requests(50);
  ASSERT_THAT(requests, SizeIs(50));
  for (std::int32_t token = 1; token <= 20; ++token) {
    for (const auto& request : requests) {
      fixture.coordinator.send(delta_reply(request.id, *request.prompt + ",", token));
    }
  }
  for (const auto& request : requests) fixture.coordinator.send(done_reply(request.id, 20));
  for (int i = 0; i < 50; ++i) {
    std::string text, expected;
    for (int token = 0; token < 20; ++token) expected += std::to_string(i) + ",";
    for (const json& chunk : chunks_of(clients[i]->read())) {
      text += chunk["choices"][0]["text"].get<std::string>();
    }
    EXPECT_EQ(text, expected);
  }
}

TEST(HttpServer, TellsTheBackendsHealth) {
  std::atomic<bool> healthy = true;
  FakeCoordinator::Script script = friendly_script();
  script.status = [&healthy](const comm::StatusRequest& request) {
    comm::StatusReply status = healthy_status(request.id);
    status.healthy = healthy;
    return std::optional(status);
  };
  ServerFixture fixture(script);
  EXPECT_EQ(fixture.get("/health").status, 200);
  healthy = false;
  const ClientResponse response = fixture.get("/health");
  EXPECT_EQ(response.status, 503);
  EXPECT_THAT(response.body, HasSubstr("not healthy"));
}

TEST(HttpServer, IsNotHealthyWhileTheBackendStops) {
  FakeCoordinator::Script script = friendly_script();
  script.status = [](const comm::StatusRequest& request) {
    comm::StatusReply status = healthy_status(request.id);
    status.healthy = false;
    status.stopping = true;
    return std::optional(status);
  };
  ServerFixture fixture(script);
  const ClientResponse response = fixture.get("/health");
  EXPECT_EQ(response.status, 503);
  EXPECT_THAT(response.body, HasSubstr("shutting_down"));
}

TEST(HttpServer, IsNotHealthyWhenTheBackendDoesNotAnswer) {
  HttpOptions options = test_options();
  options.health_timeout = 50ms;
  FakeCoordinator::Script script = friendly_script();
  script.status = [](const auto&) { return std::nullopt; };
  ServerFixture fixture(script, options);
  const ClientResponse response = fixture.get("/health");
  EXPECT_EQ(response.status, 503);
  EXPECT_THAT(response.body, HasSubstr("within 50 ms"));
  EXPECT_EQ(fixture.get("/v1/models").status, 503);
  EXPECT_THAT(fixture.get("/metrics").body, HasSubstr("lockstep_http_backend_up 0"));
}

TEST(HttpServer, ListsTheModel) {
  ServerFixture fixture;
  const json list = fixture.get("/v1/models").json();
  EXPECT_EQ(list["object"], "list");
  ASSERT_THAT(list["data"], SizeIs(1));
  EXPECT_EQ(list["data"][0]["id"], "tiny");
  EXPECT_EQ(list["data"][0]["max_model_len"], 2048);
  EXPECT_EQ(fixture.get("/v1/models/tiny").json()["id"], "tiny");
  EXPECT_EQ(fixture.get("/v1/models/huge").json()["error"]["code"], "model_not_found");
}

TEST(HttpServer, FindsAModelByItsEncodedName) {
  HttpOptions options = test_options();
  options.served_model_name = "org/tiny model";
  ServerFixture fixture(friendly_script(), options);
  const auto status = [&](const std::string& name) {
    return fixture.get("/v1/models/" + name).status;
  };
  EXPECT_EQ(fixture.get("/v1/models/org%2Ftiny%20model").json()["id"], "org/tiny model");
  EXPECT_EQ(status("org/tiny%20model?x=1"), 200);
  EXPECT_EQ(status("org%2ftiny+model"), 404);
  EXPECT_EQ(status("%ff%00"), 404);
  for (const char* broken : {"%", "org%2", "org%2Ftiny%2", "%zz", "%-1", "%%20"}) {
    EXPECT_EQ(status(broken), 400) << broken;
  }
}

TEST(HttpServer, AnswersHeadAsGetWithoutTheBody) {
  ServerFixture fixture;
  HttpClient client(fixture.port());
  const auto head = [&](const std::string& path) {
    client.send("HEAD " + path + " HTTP/1.1\r\nHost: test\r\n\r\n");
    return client.read_until("\r\n\r\n");
  };
  for (const char* path : {"/health", "/version", "/v1/models", "/v1/models/tiny", "/metrics"}) {
    EXPECT_THAT(head(path), StartsWith("HTTP/1.1 200")) << path;
  }
  EXPECT_THAT(head("/health"), HasSubstr("\r\nContent-Length: 20\r\n"));  // {"status":"healthy"}
  EXPECT_THAT(head("/nowhere"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(head("/v1/completions"), StartsWith("HTTP/1.1 405"));
  EXPECT_EQ(client.get("/version").json()["version"], "1.2.3");  // what comes is this answer alone
  client.send("HEAD /health HTTP/1.1\r\n\r\n");                  // without Host, refused unread
  EXPECT_THAT(client.read_until("\r\n\r\n"), StartsWith("HTTP/1.1 400"));
  EXPECT_TRUE(client.sees_end());
}

TEST(HttpServer, AppendsItsMetricsToTheBackends) {
  FakeCoordinator::Script script = friendly_script();
  script.status = [](const comm::StatusRequest& request) {
    comm::StatusReply status = healthy_status(request.id);
    if (request.metrics) status.metrics = "lockstep_num_requests_running 3\n";
    return std::optional(status);
  };
  ServerFixture fixture(script);
  fixture.post("/v1/completions", kPrompt);
  fixture.post("/v1/completions", "{}");
  const ClientResponse response = fixture.get("/metrics");
  EXPECT_THAT(response.headers.at("content-type"), StartsWith("text/plain; version=0.0.4"));
  EXPECT_THAT(
      response.body,
      AllOf(StartsWith("lockstep_num_requests_running 3\n"),
            HasSubstr(R"(lockstep_http_requests_total{route="/v1/completions",status="200"} 1)"),
            HasSubstr(R"(lockstep_http_requests_total{route="/v1/completions",status="400"} 1)"),
            HasSubstr("lockstep_http_backend_up 1\n")));
}

// A request without its body, as far as the server has read it.
void begin_post(HttpClient& client, std::string_view body) {
  client.send(
      "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
      "Expect: 100-continue\r\nContent-Length: " +
      std::to_string(body.size()) + "\r\n\r\n");
  EXPECT_THAT(client.read_until("\r\n\r\n"), HasSubstr("100 Continue"));
}

TEST(HttpServer, EndsWhatIsOpenWhenItStops) {
  HttpOptions options = test_options();
  options.drain_timeout = 60'000ms;  // nobody is to wait for it
  ServerFixture fixture(accepting_script(), options);
  HttpClient idle(fixture.port()), whole(fixture.port()), stream(fixture.port());
  EXPECT_EQ(idle.get("/health").status, 200);
  whole.send(post_text("/v1/completions", kPrompt));
  stream.send(post_text("/v1/completions", kStreamedPrompt));
  fixture.coordinator.wait_for_requests(2);
  EXPECT_THAT(stream.read_until("\r\n\r\n"), StartsWith("HTTP/1.1 200"));
  fixture.stop();
  EXPECT_TRUE(idle.sees_end());
  const ClientResponse refused = whole.read();
  EXPECT_EQ(refused.status, 503);
  EXPECT_THAT(refused.body, HasSubstr("shutting_down"));
  EXPECT_EQ(refused.headers.at("connection"), "close");
  EXPECT_THAT(stream.read_until("0\r\n\r\n"), HasSubstr("shutting_down"));
}

TEST(HttpServer, HandsOutTheLastWordsOfItsBackendWhenItStops) {
  HttpOptions options = test_options();
  options.drain_timeout = 60'000ms;
  ServerFixture fixture(accepting_script(), options);
  HttpClient client(fixture.port());
  client.send(post_text("/v1/completions", kPrompt));
  const std::string id = fixture.coordinator.wait_for_requests(1).at(0).id;
  fixture.coordinator.send(done_reply(id, 0));
  fixture.coordinator.end();
  fixture.stop();
  EXPECT_EQ(client.read().status, 200);
}

TEST(HttpServer, RefusesARequestThatIsStillComingWhenItStops) {
  HttpOptions options = test_options();
  options.drain_timeout = 60'000ms;
  ServerFixture fixture(accepting_script(), options);
  HttpClient client(fixture.port()), idle(fixture.port());
  EXPECT_EQ(idle.get("/health").status, 200);
  begin_post(client, kPrompt);
  fixture.request_stop();
  EXPECT_TRUE(idle.sees_end());  // it stops
  client.send(kPrompt);
  const ClientResponse response = client.read();
  EXPECT_EQ(response.status, 503);
  EXPECT_THAT(response.body, HasSubstr("shutting_down"));
  fixture.stop();
}

TEST(HttpServer, CutsWhoIsNotDoneInTimeWhenItStops) {
  ServerFixture fixture(accepting_script());  // a drain timeout of 0
  HttpClient client(fixture.port());
  begin_post(client, kPrompt);
  fixture.stop();
  EXPECT_EQ(client.read().status, 0);
}

TEST(HttpServer, ListensAtANameOfThisHost) {
  HttpOptions options = test_options();
  options.address = "localhost:0";
  ServerFixture fixture(friendly_script(), options);
  EXPECT_EQ(fixture.get("/version").status, 200);  // at 127.0.0.1
}

TEST(HttpServer, RefusesAddressesItCannotListenOn) {
  zmq::context_t context;
  for (const char* address : {"8000", "300.0.0.1:80", "192.0.2.1:80"}) {
    HttpOptions options = test_options();
    options.address = address;
    EXPECT_THROW(HttpServer(options, context, "inproc://nobody"), Error) << address;
  }
  HttpServer first(test_options(), context, "inproc://nobody");
  for (const char* host : {"127.0.0.1:", "localhost:"}) {  // the same
    HttpOptions taken = test_options();
    taken.address = host + std::to_string(first.port());
    EXPECT_THROW(HttpServer(taken, context, "inproc://nobody"), Error) << host;
  }
}

}  // namespace
}  // namespace lockstep::gateway
