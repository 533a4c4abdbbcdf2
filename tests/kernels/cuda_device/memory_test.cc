#include <gmock/gmock.h>

#include <numeric>
#include <vector>

#include "kernels/cuda/device_buffer.h"
#include "kernels/cuda/pinned_buffer.h"
#include "tests/kernels/cuda_device/device_fixture.h"

namespace lockstep::kernels::cuda {
namespace {

using testing::AllOf;
using testing::Each;
using testing::HasSubstr;

class CudaMemory : public OnDevice {
 protected:
  static std::vector<int> numbers(std::size_t count) {
    std::vector<int> values(count);
    std::iota(values.begin(), values.end(), 17);
    return values;
  }
};

TEST_F(CudaMemory, KeepsWhatIsCopiedThroughIt) {
  for (const std::size_t count : {std::size_t{1}, std::size_t{1009}, std::size_t{3} << 20}) {
    const std::vector<int> sent = numbers(count);
    DeviceBuffer<int> first(pool(), "first", count);
    const DeviceBuffer<int> second(pool(), "second", count);
    std::vector<int> received(count);
    first.upload(sent, stream());
    copy_on_device(second.data(), first.data(), count * sizeof(int), stream(), "between");
    second.download(received, stream());
    stream().synchronize();
    EXPECT_EQ(received, sent) << count;
  }
}

TEST_F(CudaMemory, CopiesBetweenPinnedMemoryAndTheDevice) {
  PinnedPool pinned(device());
  const PinnedBuffer<int> sent(pinned, "sent", 1009);
  const PinnedBuffer<int> received(pinned, "received", 1009);
  std::iota(sent.span().begin(), sent.span().end(), 5);
  std::ranges::fill(received.span(), 0);
  DeviceBuffer<int> between(pool(), "between", 1009);
  between.upload(sent.span(), stream());
  between.download(received.span(), stream());
  stream().synchronize();
  EXPECT_TRUE(std::ranges::equal(received.span(), sent.span()));
  EXPECT_EQ(pinned.ledger().used(), 2 * 1009 * sizeof(int));
}

TEST_F(CudaMemory, IsZeroAfterClear) {
  const std::vector<int> sent = numbers(100);
  DeviceBuffer<int> buffer(pool(), "numbers", 100);
  std::vector<int> received(100, 1);
  buffer.upload(sent, stream());
  buffer.clear(stream());
  buffer.download(received, stream());
  stream().synchronize();
  EXPECT_THAT(received, Each(0));
}

TEST_F(CudaMemory, IsAlignedForEveryKernel) {
  for (const std::size_t bytes : {1, 3, 1000}) {
    const DeviceBuffer<std::byte> buffer(pool(), "bytes", bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % 256, 0u);
  }
}

TEST_F(CudaMemory, ThatDoesNotFitIsRefusedWithTheTable) {
  const DeviceBuffer<std::byte> weights(pool(), "weights", std::size_t{3} << 20);
  const std::size_t too_much = device().description().memory + 1;
  EXPECT_THAT(error_of([&] { DeviceBuffer<std::byte>(pool(), "KV cache", too_much); }),
              AllOf(HasSubstr("rank 3"), HasSubstr("'KV cache'"), HasSubstr("are free"),
                    HasSubstr("3.0 MiB in    1 piece   weights")));
  const DeviceBuffer<std::byte> more(pool(), "more", 100);  // the device is as good as before
  EXPECT_EQ(pool().ledger().used(), (std::size_t{3} << 20) + 100);
}

TEST_F(CudaMemory, IsFreeAgainAfterItsBuffer) {
  const std::size_t bytes = std::size_t{256} << 20;
  const std::size_t before = pool().room().free;
  {
    const DeviceBuffer<std::byte> buffer(pool(), "buffer", bytes);
    EXPECT_LE(pool().room().free + bytes, before);
  }
  EXPECT_GE(pool().room().free + bytes / 2, before);
}

}  // namespace
}  // namespace lockstep::kernels::cuda
