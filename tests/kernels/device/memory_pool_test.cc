#include "kernels/device/memory_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/error.h"

namespace lockstep::kernels::device {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr std::size_t kMiB = 1 << 20;

// A device of 1,000 MiB, of which somebody else has 200; addresses only.
class SmallDevice final : public Allocator {
 public:
  explicit SmallDevice(std::set<void*>& live) : live_(live) {}
  std::string_view name() const override { return "device 7"; }
  void* allocate(std::size_t bytes) override {
    if (bytes > room().free) return nullptr;
    const auto address = reinterpret_cast<void*>(next_ += 256);
    sizes_[address] = bytes;
    live_.insert(address);
    return address;
  }
  void release(void* memory) noexcept override {
    sizes_.erase(memory);
    EXPECT_EQ(live_.erase(memory), 1u) << "freed twice, or never given out";
  }
  Room room() override {
    std::size_t used = 200 * kMiB;
    for (const auto& [address, bytes] : sizes_) used += bytes;
    return {1000 * kMiB - used, 1000 * kMiB};
  }

 private:
  std::set<void*>& live_;
  std::map<void*, std::size_t> sizes_;
  std::uintptr_t next_ = 0;
};

class MemoryPoolOfADevice : public testing::Test {
 protected:
  std::set<void*> live_;
  MemoryPool pool_{std::make_unique<SmallDevice>(live_)};

  std::string refusal(const std::string& label, std::size_t bytes) {
    try {
      pool_.allocate(label, bytes);
    } catch (const Error& error) {
      return error.what();
    }
    return "there was room";
  }
};

TEST_F(MemoryPoolOfADevice, CountsPiecesByLabel) {
  const Allocation first = pool_.allocate("weights", 300);
  const Allocation second = pool_.allocate("weights", 20);
  const Allocation third = pool_.allocate("KV cache", 7);
  EXPECT_EQ(pool_.ledger().used("weights"), 320u);
  EXPECT_EQ(pool_.ledger().used("KV cache"), 7u);
  EXPECT_EQ(pool_.ledger().used("nothing"), 0u);
  EXPECT_EQ(pool_.ledger().used(), 327u);
  EXPECT_EQ(first.size(), 300u);
  EXPECT_EQ(third.label(), "KV cache");
}

TEST_F(MemoryPoolOfADevice, GivesBackWhatGoes) {
  {
    const Allocation gone = pool_.allocate("weights", 300);
    EXPECT_EQ(live_.size(), 1u);
  }
  EXPECT_TRUE(live_.empty());
  EXPECT_EQ(pool_.ledger().used(), 0u);
  EXPECT_EQ(pool_.ledger().peak(), 300u);
  EXPECT_EQ(pool_.ledger().table(), "");
}

TEST_F(MemoryPoolOfADevice, MovesAnAllocationWithoutFreeingIt) {
  Allocation first = pool_.allocate("a", 10);
  void* const address = first.data();
  Allocation second = std::move(first);
  EXPECT_EQ(second.data(), address);
  EXPECT_EQ(live_.count(address), 1u);
  {
    Allocation third = pool_.allocate("b", 20);
    second = std::move(third);
  }
  EXPECT_EQ(live_.count(address), 0u) << "what was assigned over is given back";
  EXPECT_EQ(second.label(), "b");
  EXPECT_EQ(pool_.ledger().used(), 20u);
}

TEST_F(MemoryPoolOfADevice, AsksNobodyForNoBytes) {
  const Allocation empty = pool_.allocate("nothing", 0);
  EXPECT_EQ(empty.data(), nullptr);
  EXPECT_TRUE(live_.empty());
}

TEST_F(MemoryPoolOfADevice, ExplainsWhyThereIsNoRoom) {
  const Allocation weights = pool_.allocate("weights", 500 * kMiB);
  const Allocation more = pool_.allocate("weights", 50 * kMiB);
  const Allocation scratch = pool_.allocate("scratch", 1536 * 1024);
  EXPECT_EQ(refusal("KV cache", 300 * kMiB),
            "device 7: no room for 300.0 MiB of 'KV cache': 248.5 MiB of 1000.0 MiB are free, "
            "200.0 MiB are other processes' or the driver's own; this rank uses 551.5 MiB:\n"
            "     550.0 MiB in    2 pieces  weights\n"
            "       1.5 MiB in    1 piece   scratch");
  EXPECT_EQ(pool_.ledger().used("KV cache"), 0u);
}

TEST_F(MemoryPoolOfADevice, HasNoTableBeforeAnythingIsInUse) {
  EXPECT_THAT(refusal("weights", 900 * kMiB),
              AllOf(HasSubstr("this rank uses 0.0 MiB"), Not(HasSubstr("\n"))));
}

TEST_F(MemoryPoolOfADevice, KeepsTheBooksOfAnotherAllocatorToo) {
  std::set<void*> windows_live;
  SmallDevice windows(windows_live);
  {
    const Allocation window = pool_.allocate_from(windows, "windows", 64);
    EXPECT_EQ(pool_.ledger().used("windows"), 64u);
    EXPECT_TRUE(live_.empty());
    EXPECT_EQ(windows_live.size(), 1u);
  }
  EXPECT_TRUE(windows_live.empty()) << "it goes back to where it came from";
  EXPECT_EQ(pool_.ledger().used(), 0u);
}

}  // namespace
}  // namespace lockstep::kernels::device
