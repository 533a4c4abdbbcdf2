#include "comm/stage_link.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "comm/plan_codec.h"
#include "comm/plan_socket.h"

namespace lockstep::comm {
namespace {

using std::chrono::milliseconds;
using testing::AllOf;
using testing::HasSubstr;

constexpr milliseconds kAmple{20000};
constexpr std::size_t kMaxBytes = 4096;

std::vector<std::byte> bytes_like(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
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

class StageLink : public testing::Test {
 protected:
  StageOutlet outlet(milliseconds deadline = kAmple) {
    return StageOutlet(context_, address_, {3, deadline});
  }
  // Of rank 3, unless said otherwise, from rank 1.
  StageInlet inlet(const StageOutlet& from, milliseconds deadline = kAmple, int rank = 3,
                   const std::string& token = "token") {
    return StageInlet(context_, {from.endpoint(), 7, token}, rank, {1, deadline}, kMaxBytes);
  }

  PrivateDirectory directory_;
  zmq::context_t context_;
  const PlanBusAddress address_{directory_.endpoint(), 7, "token"};
};

TEST_F(StageLink, BringsEveryMessageInOrder) {
  StageOutlet out = outlet();
  StageInlet in = inlet(out);
  out.wait_for_inlet();
  std::vector<std::vector<std::byte>> sent;
  for (std::size_t i = 0; i < 20; ++i) {
    sent.emplace_back(i * 100, static_cast<std::byte>(i));
    out.send(sent.back());
  }
  for (const auto& expected : sent) {
    std::vector<std::byte> got(expected.size());
    in.receive(got);
    EXPECT_EQ(got, expected);
  }
}

TEST_F(StageLink, ReachesAcrossTcp) {
  StageOutlet out(context_, {"tcp://127.0.0.1:*", 7, "token"}, {3, kAmple});
  StageInlet in = inlet(out);
  out.wait_for_inlet();
  out.send(bytes_like("hidden"));
  std::vector<std::byte> got(6);
  in.receive(got);
  EXPECT_EQ(got, bytes_like("hidden"));
}

TEST_F(StageLink, NamesTheStageThatIsLate) {
  StageOutlet out = outlet();
  StageInlet in = inlet(out, milliseconds(50));
  out.wait_for_inlet();
  std::vector<std::byte> got(4);
  EXPECT_EQ(failure_of([&] { in.receive(got); }),
            "stage link: activations 1 of rank 1 did not come within 50 ms");
}

TEST_F(StageLink, WaitsAsLongAsTheStageBeforeShowsThatItIsAtWork) {
  StageOutlet out = outlet();
  StageInlet in = inlet(out, milliseconds(500));
  out.wait_for_inlet();
  int signs = 0;
  in.on_underway([&] { ++signs; });
  std::jthread stage([&] {
    for (int i = 0; i < 20; ++i) {
      out.send_underway();
      std::this_thread::sleep_for(milliseconds(50));
    }
    out.send(bytes_like("hidden"));
  });
  std::vector<std::byte> got(6);
  in.receive(got);
  EXPECT_EQ(got, bytes_like("hidden"));
  EXPECT_EQ(signs, 20);
}

TEST_F(StageLink, NamesTheStageThatDoesNotComeAtStart) {
  StageOutlet out = outlet(milliseconds(50));
  EXPECT_EQ(failure_of([&] { out.wait_for_inlet(); }),
            "stage link: no hello from rank 3 within 50 ms");
}

TEST_F(StageLink, HearsOnlyTheRankAndTheTokenItExpects) {
  StageOutlet out = outlet(milliseconds(300));
  StageInlet other_rank = inlet(out, kAmple, 2);
  StageInlet other_token = inlet(out, kAmple, 3, "guess");
  zmq::socket_t stranger(context_, zmq::socket_type::dealer);
  stranger.set(zmq::sockopt::linger, 0);
  stranger.connect(out.endpoint());
  stranger.send(zmq::str_buffer("garbage"));
  EXPECT_THAT(failure_of([&] { out.wait_for_inlet(); }), HasSubstr("no hello from rank 3"));
}

TEST_F(StageLink, TellsWhenSizesDiffer) {
  StageOutlet out = outlet();
  StageInlet in = inlet(out);
  out.wait_for_inlet();
  out.send(bytes_like("hidden"));
  std::vector<std::byte> got(8);
  EXPECT_THAT(failure_of([&] { in.receive(got); }),
              AllOf(HasSubstr("activations 1 of rank 1 are due, 8 bytes"),
                    HasSubstr("a message of 14 bytes")));
}

TEST_F(StageLink, TellsWhenTheNextStageIsGone) {
  StageOutlet out = outlet();
  {
    StageInlet in = inlet(out);
    out.wait_for_inlet();
  }
  std::string failure;
  for (int i = 0; i < 1000 && failure.empty(); ++i) {
    failure = failure_of([&] { out.send(bytes_like("hidden")); });
    std::this_thread::sleep_for(milliseconds(1));
  }
  EXPECT_THAT(failure, HasSubstr("rank 3 takes no activations"));
}

}  // namespace
}  // namespace lockstep::comm
