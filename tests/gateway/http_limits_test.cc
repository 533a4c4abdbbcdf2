// What clients may not do: sizes, times and numbers, over real sockets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <mutex>

#include "tests/gateway/server_fixture.h"

namespace lockstep::gateway {
namespace {

using std::chrono_literals::operator""ms;
using testing::HasSubstr;

const char* const kPrompt = R"({"model": "tiny", "prompt": "Hi"})";

HttpOptions small_options() {
  HttpOptions options = test_options();
  options.max_header_bytes = 1024;
  options.max_body_bytes = 2048;
  return options;
}

// Expects an error with OpenAI's body, after which the connection ends.
void expect_refused(HttpClient& client, int status) {
  const ClientResponse response = client.read();
  ASSERT_EQ(response.status, status) << response.body;
  EXPECT_EQ(response.json()["error"]["type"], "invalid_request_error");
  EXPECT_EQ(response.headers.at("connection"), "close");
  EXPECT_TRUE(client.sees_end());
}

TEST(HttpLimits, RefusesAContentLengthBeyondTheLimitUnread) {
  ServerFixture fixture(friendly_script(), small_options());
  HttpClient client(fixture.port());
  client.send(
      "POST /v1/completions HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
      "Content-Length: 2049\r\n\r\n");
  expect_refused(client, 413);
}

TEST(HttpLimits, TakesABodyOfExactlyTheLimit) {
  ServerFixture fixture(friendly_script(), small_options());
  std::string body = kPrompt;
  body.append(2048 - body.size(), ' ');
  EXPECT_EQ(fixture.post("/v1/completions", body).status, 200);
}

TEST(HttpLimits, RefusesHugeContentLengths) {
  ServerFixture fixture(friendly_script(), small_options());
  for (const char* length : {"18446744073709551615", "18446744073709551616", "-1", "1e3", "0x10",
                             "99999999999999999999999999"}) {
    HttpClient client(fixture.port());
    client.send(std::string("POST /v1/completions HTTP/1.1\r\nHost: test\r\nContent-Length: ") +
                length + "\r\n\r\n");
    EXPECT_THAT(client.read().status, testing::AnyOf(400, 413)) << length;
  }
}

TEST(HttpLimits, RefusesAChunkedBodyThatGrowsBeyondTheLimit) {
  ServerFixture fixture(friendly_script(), small_options());
  HttpClient client(fixture.port());
  client.send(
      "POST /v1/completions HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
      "Transfer-Encoding: chunked\r\n\r\n");
  const std::string chunk = "100\r\n" + std::string(256, ' ') + "\r\n";
  for (int i = 0; i < 9; ++i) client.send(chunk);
  expect_refused(client, 413);
}

TEST(HttpLimits, ReadsAChunkedBodyWithinTheLimit) {
  ServerFixture fixture(friendly_script(), small_options());
  HttpClient client(fixture.port());
  const std::string body = kPrompt;
  client.send(
      "POST /v1/completions HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
      "Transfer-Encoding: chunked\r\n\r\n");
  for (const char c : body) client.send(std::string("1\r\n") + c + "\r\n");
  client.send("0\r\n\r\n");
  EXPECT_EQ(client.read().status, 200);
}

TEST(HttpLimits, RefusesAnEndlessChunkExtension) {
  ServerFixture fixture(friendly_script(), small_options());
  HttpClient client(fixture.port());
  client.send(
      "POST /v1/completions HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
      "Transfer-Encoding: chunked\r\n\r\n1;x=");
  client.send(std::string(std::size_t{64} << 10, 'x'));
  expect_refused(client, 400);
}

TEST(HttpLimits, RefusesAnEndlessHeader) {
  ServerFixture fixture(friendly_script(), small_options());
  for (const std::string& start : {std::string("GET /health HTTP/1.1\r\nHost: test\r\nX: "),
                                   std::string("GET /"), std::string("X")}) {
    HttpClient client(fixture.port());
    client.send(start + std::string(2000, 'x'));
    const ClientResponse response = client.read();
    EXPECT_THAT(response.status, testing::AnyOf(400, 431)) << start;
  }
}

TEST(HttpLimits, RefusesEndlessManyHeaders) {
  ServerFixture fixture(friendly_script(), small_options());
  HttpClient client(fixture.port());
  client.send("GET /health HTTP/1.1\r\nHost: test\r\n");
  for (int i = 0; i < 200; ++i) client.send("X-A: b\r\n");
  expect_refused(client, 431);
}

TEST(HttpLimits, GivesARequestThatDripsItsTimeAndNoMore) {
  HttpOptions options = test_options();
  options.read_timeout = 150ms;
  ServerFixture fixture(friendly_script(), options);
  HttpClient client(fixture.port());
  const std::string request = post_text("/v1/completions", kPrompt);
  bool ended = false;
  for (std::size_t i = 0; i < 100 && !ended; ++i) {
    ended = !client.send(request.substr(i, 1));
    std::this_thread::sleep_for(5ms);
  }
  EXPECT_EQ(client.read().status, 408);
}

TEST(HttpLimits, GivesABodyThatDripsItsTimeAndNoMore) {
  HttpOptions options = test_options();
  options.read_timeout = 100ms;
  ServerFixture fixture(friendly_script(), options);
  HttpClient client(fixture.port());
  client.send(
      "POST /v1/completions HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
      "Content-Length: 100\r\n\r\n{");
  expect_refused(client, 408);
}

TEST(HttpLimits, ClosesIdleConnections) {
  HttpOptions options = test_options();
  options.idle_timeout = 50ms;
  ServerFixture fixture(friendly_script(), options);
  HttpClient never_spoke(fixture.port()), spoke(fixture.port());
  EXPECT_EQ(spoke.post("/v1/completions", kPrompt).status, 200);
  EXPECT_TRUE(never_spoke.sees_end());
  EXPECT_TRUE(spoke.sees_end());
}

TEST(HttpLimits, RefusesConnectionsBeyondTheLimit) {
  HttpOptions options = test_options();
  options.max_connections = 2;
  ServerFixture fixture(friendly_script(), options);
  auto first = std::make_unique<HttpClient>(fixture.port());
  HttpClient second(fixture.port());
  EXPECT_EQ(first->get("/version").status, 200);
  EXPECT_EQ(second.get("/version").status, 200);
  HttpClient third(fixture.port());
  const ClientResponse response = third.read();
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(response.json()["error"]["code"], "overloaded");
  EXPECT_THAT(second.get("/metrics").body,
              HasSubstr("lockstep_http_connections_refused_total 1\n"));
  third.close();
  first.reset();
  int status = 0;  // the places are free as soon as the server has seen the ends
  for (int i = 0; i < 200 && status != 200; ++i) {
    std::this_thread::sleep_for(5ms);
    status = HttpClient(fixture.port()).get("/version").status;
  }
  EXPECT_EQ(status, 200);
}

TEST(HttpLimits, CancelsTheRequestOfAClientThatDoesNotRead) {
  HttpOptions options = test_options();
  options.max_queued_bytes = std::size_t{1} << 20;
  ServerFixture fixture(accepting_script(), options);
  HttpClient client(fixture.port(), /*receive_buffer=*/4096);
  client.send(post_text("/v1/completions", R"({"model": "tiny", "prompt": "Hi", "stream": true})"));
  const std::string id = fixture.coordinator.wait_for_requests(1).at(0).id;
  const std::string text(std::size_t{64} << 10, 'x');
  for (std::int32_t i = 0; i < 320; ++i) fixture.coordinator.send(delta_reply(id, text, i));
  EXPECT_EQ(fixture.coordinator.wait_for_cancels(1), std::vector{id});
  EXPECT_THAT(fixture.get("/metrics").body, HasSubstr("lockstep_http_slow_readers_total 1\n"));
}

TEST(HttpLimits, CancelsTheRequestOfAClientThatTakesNothingInTime) {
  HttpOptions options = test_options();
  options.write_timeout = 100ms;
  options.max_queued_bytes = std::size_t{1} << 30;
  ServerFixture fixture(accepting_script(), options);
  HttpClient client(fixture.port(), /*receive_buffer=*/4096);
  client.send(post_text("/v1/completions", R"({"model": "tiny", "prompt": "Hi", "stream": true})"));
  const std::string id = fixture.coordinator.wait_for_requests(1).at(0).id;
  const std::string text(std::size_t{64} << 10, 'x');
  for (std::int32_t i = 0; i < 320; ++i) fixture.coordinator.send(delta_reply(id, text, i));
  EXPECT_EQ(fixture.coordinator.wait_for_cancels(1), std::vector{id});
}

TEST(HttpLimits, RefusesCallsWhileTooMuchWaitsForTheBackend) {
  HttpOptions options = test_options();
  options.max_backend_bytes = 4096;
  std::promise<void> come, resume;
  std::once_flag once;
  FakeCoordinator::Script script = friendly_script();
  script.generate = [&,
                     resumed = resume.get_future().share()](const comm::GenerateRequest& request) {
    std::call_once(once, [&] { come.set_value(); });
    resumed.wait();
    return answer_of_words(request, {"Hello"});
  };
  ServerFixture fixture(std::move(script), options);
  // Nothing waits when it comes: all its choices are taken, beyond the limit.
  HttpClient large(fixture.port());
  const nlohmann::json body = {{"model", "tiny"}, {"prompt", std::string(3000, 'x')}, {"n", 4}};
  large.send(post_text("/v1/completions", body.dump()));
  come.get_future().wait();
  const ClientResponse refused = fixture.post("/v1/completions", kPrompt);
  resume.set_value();
  ASSERT_EQ(refused.status, 503);
  EXPECT_EQ(refused.json()["error"]["code"], "overloaded");
  EXPECT_TRUE(refused.headers.contains("retry-after"));
  EXPECT_EQ(large.read().status, 200);
  EXPECT_EQ(fixture.post("/v1/completions", kPrompt).status, 200);  // there is room again
}

TEST(HttpLimits, RefusesMalformedRequests) {
  ServerFixture fixture;
  const std::pair<std::string, int> cases[] = {
      {"hello\r\n\r\n", 400},
      {"GET /health HTTP/1.1\r\n\r\n", 400},                        // no Host
      {"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},  // two
      {"GET /health HTTP/2.0\r\nHost: a\r\n\r\n", 400},
      {"GET /health HTTP/1.1\r\nHost: a\r\nBad Header: b\r\n\r\n", 400},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400},
      {"POST /v1/completions HTTP/1.1\r\nHost: a\r\n\r\n", 411},
      {"POST /v1/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
      {"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\n"
       "Content-Length: 2\r\n\r\n{}",
       415},
      {"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
       "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
       400},
      {"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
       "Content-Length: 3\r\n\r\n{}",
       400},
      {"POST /v1/completions HTTP/1.1\r\nHost: a\r\nExpect: cake\r\nContent-Length: 2\r\n\r\n{}",
       417},
      {"POST /v1/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
  };
  for (const auto& [bytes, status] : cases) {
    HttpClient client(fixture.port());
    client.send(bytes);
    SCOPED_TRACE(bytes);
    expect_refused(client, status);
  }
}

TEST(HttpLimits, AnswersUnknownPathsMethodsAndTypes) {
  ServerFixture fixture;
  HttpClient client(fixture.port());  // one connection: none of these ends it
  EXPECT_EQ(client.get("/").status, 404);
  EXPECT_EQ(client.get("/v1/embeddings").status, 404);
  const ClientResponse get = client.get("/v1/completions");
  EXPECT_EQ(get.status, 405);
  EXPECT_EQ(get.headers.at("allow"), "POST");
  const ClientResponse post = client.post("/health", "{}");
  EXPECT_EQ(post.status, 405);
  EXPECT_EQ(post.headers.at("allow"), "GET, HEAD");
  client.send(
      "POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\n"
      "Content-Length: 2\r\n\r\n{}");
  EXPECT_EQ(client.read().status, 415);
  EXPECT_EQ(client.get("/health?probe=1").status, 200);
}

TEST(HttpLimits, ContinuesAfterExpect) {
  ServerFixture fixture;
  HttpClient client(fixture.port());
  const std::string body = kPrompt;
  client.send(
      "POST /v1/completions HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
      "Expect: 100-continue\r\nContent-Length: " +
      std::to_string(body.size()) + "\r\n\r\n");
  EXPECT_EQ(client.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send(body);
  EXPECT_EQ(client.read().status, 200);
}

}  // namespace
}  // namespace lockstep::gateway
