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

// A sequence lock (Boehm, "Can seqlocks get along with programming language memory models?", MSPC
// 2012) over atomic words. All zero bits are a valid, empty label.
//
// Invariant: version_ is odd while a write is under way. Words are stored with release and loaded
// with acquire, so that whoever sees a word of a write also sees the odd version before it.
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

    const std::uint64_t version = version_.load(std::memory_order_relaxed);
    version_.store(version + 1, std::memory_order_relaxed);
    for (std::size_t i = 0; i < kWords; ++i) words_[i].store(words[i], std::memory_order_release);
    version_.store(version + 2, std::memory_order_release);
  }

  // The last value written. A writer that died half-way leaves a mixture, which is still text.
  Value get() const {
    std::array<std::uint64_t, kWords> words{};
    for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
      const std::uint64_t before = version_.load(std::memory_order_acquire);
      for (std::size_t i = 0; i < kWords; ++i) words[i] = words_[i].load(std::memory_order_acquire);
      const std::uint64_t after = version_.load(std::memory_order_relaxed);
      if (before == after && before % 2 == 0) break;
    }
    const auto* bytes = reinterpret_cast<const char*>(words.data());
    const std::size_t length = std::min<std::size_t>(static_cast<std::uint8_t>(bytes[0]), kMaxText);
    return {std::string(bytes + 1, length), words[kTextWords],
            static_cast<std::int64_t>(words[kTextWords + 1])};
  }

 private:
  static constexpr std::size_t kTextWords = (1 + kMaxText) / 8;
  static constexpr std::size_t kWords = kTextWords + 2;
  static constexpr int kMaxAttempts = 1000;

  std::atomic<std::uint64_t> version_ = 0;
  std::array<std::atomic<std::uint64_t>, kWords> words_{};
};

static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

}  // namespace lockstep::comm
