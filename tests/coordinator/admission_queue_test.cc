#include "coordinator/admission_queue.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <string>
#include <thread>
#include <vector>

#include "tests/coordinator/gated_tokenizer.h"

namespace lockstep::coordinator {
namespace {

using testing::GatedTokenizer;

comm::GenerateRequest request(const std::string& prompt) {
  comm::GenerateRequest r;
  r.prompt = prompt;
  r.max_tokens = 1;
  return r;
}

class AdmissionQueueTest : public ::testing::Test {
 protected:
  // Waits as the engine does.
  AdmissionQueue::Decision next(AdmissionQueue& queue) {
    for (;;) {
      if (auto decision = queue.take()) return *std::move(decision);
      pollfd wake_up{wake.get(), POLLIN, 0};
      EXPECT_EQ(poll(&wake_up, 1, 10000), 1);
      wake.drain();
    }
  }

  GatedTokenizer tokenizer;
  WakeDescriptor wake;
  Admission admission{{}, tokenizer, nullptr, {257}, /*seed=*/5};
};

TEST_F(AdmissionQueueTest, DecidesInTheOrderOfRequests) {
  AdmissionQueue queue(admission, wake);
  for (std::uint64_t id = 1; id <= 50; ++id) {
    EXPECT_TRUE(queue.add(request(id % 2 == 0 ? std::string(id, 'a') : ""), id));
  }
  for (std::uint64_t id = 1; id <= 50; ++id) {
    const AdmissionQueue::Decision decision = next(queue);
    EXPECT_EQ(decision.sequence_id, id);
    if (id % 2 == 0) {
      EXPECT_EQ(decision.request->request.prompt_token_ids.size(), id + 1);
    }
  }
  EXPECT_FALSE(queue.take());
}

TEST_F(AdmissionQueueTest, TokenizesNothingForThoseWhoHaveGone) {
  tokenizer.open = false;
  AdmissionQueue queue(admission, wake);
  EXPECT_TRUE(queue.add(request("zz"), 1));
  EXPECT_TRUE(queue.add(request("bb"), 2));
  EXPECT_TRUE(queue.add(request("cc"), 3));
  queue.cancel(2);
  queue.cancel(77);
  tokenizer.open = true;
  EXPECT_EQ(next(queue).sequence_id, 1u);
  EXPECT_EQ(next(queue).sequence_id, 3u);
  EXPECT_EQ(tokenizer.num_encoded, 2);
}

TEST_F(AdmissionQueueTest, BoundsWhatWaits) {
  tokenizer.open = false;
  AdmissionQueue queue(admission, wake);
  EXPECT_TRUE(queue.add(request("zz"), 1));
  while (tokenizer.num_encoded == 0) std::this_thread::yield();
  comm::GenerateRequest large;
  large.prompt_token_ids = std::vector<std::int32_t>(std::size_t{1} << 20, 1);
  const std::uint64_t most = AdmissionQueue::kMaxBytes / (std::size_t{4} << 20);
  std::uint64_t last = 1;
  while (queue.add(large, last + 1)) ++last;
  EXPECT_GE(last, most - 1);
  EXPECT_LE(last, most + 1);
  queue.cancel(last);
  EXPECT_TRUE(queue.add(large, last + 1));
  tokenizer.open = true;
}

TEST_F(AdmissionQueueTest, EndsThoughRequestsWait) {
  AdmissionQueue queue(admission, wake);
  for (std::uint64_t id = 1; id <= 1000; ++id) EXPECT_TRUE(queue.add(request("abc"), id));
}

}  // namespace
}  // namespace lockstep::coordinator
