// A short text with a number that one writer changes and any other thread, or process that maps the
// same memory, reads without a lock.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace lockstep::comm {

// Two slots, written in turn. All zero bits are a valid, empty label.
//
// Invariant: version_ counts the finished writes, and write n fills slot n % 2. A write under way
// therefore never touches the slot that a reader is sent to, and a writer that stops or dies
// half-way leaves the last whole label readable. Only two writes during one read can tear it; as
// words are stored with release and loaded with acquire, the reader then sees another version and
// tries again (Boehm, "Can seqlocks get along with programming language memory models?", MSPC
// 2012).
class SharedLabel {
 public:
  static constexpr std::size_t kMaxText = 63;  // bytes; longer texts are cut

  struct Value {
    std::string text;
    std::uint64_t number = 0;
    std::int64_t time = 0;
  };

  // One writer at a time.
  void set(std::string_view text, std::uint64_t number, std::int64_t time) {
    std::array<std::uint64_t, kWords> words{};
    const auto length = static_cast<std::uint8_t>(std::min(text.size(), kMaxText));
    auto* bytes = reinterpret_cast<char*>(words.data());
    bytes[0] = static_cast<char>(length);
    if (length > 0) std::memcpy(bytes + 1, text.data(), length);
    words[kTextWords] = number;
    words[kTextWords + 1] = static_cast<std::uint64_t>(time);

    const std::uint64_t version = version_.load(std::memory_order_relaxed) + 1;
    Slot& slot = slots_[version % 2];
    for (std::size_t i = 0; i < kWords; ++i) slot[i].store(words[i], std::memory_order_release);
    version_.store(version, std::memory_order_release);
  }

  // The last value whose write has ended.
  Value get() const {
    std::array<std::uint64_t, kWords> words{};
    std::uint64_t version = 0;
    do {
      version = version_.load(std::memory_order_acquire);
      const Slot& slot = slots_[version % 2];
      for (std::size_t i = 0; i < kWords; ++i) words[i] = slot[i].load(std::memory_order_acquire);
    } while (version_.load(std::memory_order_relaxed) != version);
    const auto* bytes = reinterpret_cast<const char*>(words.data());
    const std::size_t length = std::min<std::size_t>(static_cast<std::uint8_t>(bytes[0]), kMaxText);
    return {std::string(bytes + 1, length), words[kTextWords],
            static_cast<std::int64_t>(words[kTextWords + 1])};
  }

 private:
  static constexpr std::size_t kTextWords = (1 + kMaxText) / 8;
  static constexpr std::size_t kWords = kTextWords + 2;
  using Slot = std::array<std::atomic<std::uint64_t>, kWords>;

  std::atomic<std::uint64_t> version_ = 0;
  std::array<Slot, 2> slots_{};
};

static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

}  // namespace lockstep::comm
