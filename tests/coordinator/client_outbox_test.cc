#include "coordinator/client_outbox.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "tests/coordinator/test_client.h"

namespace lockstep::coordinator {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::TestClient;

class ClientOutboxTest : public ::testing::Test {
 protected:
  // The identity under which the socket knows the client.
  std::string introduce(TestClient& client) {
    client.send_bytes("hello");
    for (int i = 0; i < 2000; ++i) {
      if (auto frame = socket.receive()) return frame->identity;
      std::this_thread::sleep_for(1ms);
    }
    return "";
  }

  zmq::context_t context;
  ClientSocket socket{context, {"inproc://outbox"}};
  ClientOutbox outbox{socket};
};

TEST_F(ClientOutboxTest, SendsInOrder) {
  TestClient client(context, "inproc://outbox");
  const std::string identity = introduce(client);
  outbox.add(identity, "a", comm::Accepted{"a", {1, 2}, 3});
  outbox.add(identity, "a", comm::Delta{"a", "text", {4}, {}});
  EXPECT_THAT(outbox.flush(), IsEmpty());
  EXPECT_EQ(std::get<comm::Accepted>(client.receive()).seed, 3u);
  EXPECT_EQ(std::get<comm::Delta>(client.receive()).text, "text");
}

TEST_F(ClientOutboxTest, NamesAClientThatHasGone) {
  outbox.add("nobody", "a", comm::Delta{"a", "text", {4}, {}});
  EXPECT_THAT(outbox.flush(), ElementsAre("nobody"));
  EXPECT_THAT(outbox.flush(), IsEmpty());
}

TEST_F(ClientOutboxTest, TellsASlowClientOfEveryRequestInsteadOfLeavingAHole) {
  TestClient slow(context, "inproc://outbox"), other(context, "inproc://outbox");
  const std::string identity = introduce(slow), bystander = introduce(other);
  int num_sent = 0;
  while (num_sent < 100000) {
    outbox.add(identity, "a", comm::Delta{"a", "x", {num_sent}, {}});
    if (!outbox.flush().empty()) break;
    ++num_sent;
  }
  ASSERT_LT(num_sent, 100000);
  // From here on nothing gets through, whatever its request, and others do not notice.
  outbox.add(identity, "b", comm::Delta{"b", "x", {0}, {}});
  outbox.add(bystander, "c", comm::Delta{"c", "y", {0}, {}});
  EXPECT_THAT(outbox.flush(), ElementsAre(identity));
  EXPECT_EQ(std::get<comm::Delta>(other.receive()).text, "y");

  for (int i = 0; i < num_sent; ++i) {
    ASSERT_EQ(std::get<comm::Delta>(slow.receive()).token_ids[0], i);
  }
  // It reads again, but what is still said of a lost request must not follow its error.
  outbox.add(identity, "a", comm::Done{"a", "abort", "", {}, {}, ""});
  EXPECT_THAT(outbox.flush(), ElementsAre(identity));
  EXPECT_THAT(outbox.flush(), IsEmpty());
  for (const char* id : {"a", "b"}) {
    const auto error = std::get<comm::ErrorReply>(slow.receive());
    EXPECT_EQ(error.id, id);
    EXPECT_EQ(error.fault.code, "client_too_slow");
  }
  outbox.add(identity, "d", comm::Delta{"d", "again", {0}, {}});
  EXPECT_THAT(outbox.flush(), IsEmpty());
  EXPECT_EQ(std::get<comm::Delta>(slow.receive()).text, "again");
}

}  // namespace
}  // namespace lockstep::coordinator
