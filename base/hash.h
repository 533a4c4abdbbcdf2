// A 64-bit hash of a sequence of values, the same on every machine. Not for adversaries: it finds
// ranks that disagree, it does not authenticate.
#pragma once

#include <algorithm>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace lockstep {

// Feeds values one after another: Hash64().add(1).add(2.0f).value(). The order counts. Add the
// length of a list before its items, or lists of different shapes may give the same value. To go on
// from an earlier value(), add it first.
class Hash64 {
 public:
  template <std::integral T>
  constexpr Hash64& add(T value) {
    return add_word(static_cast<std::uint64_t>(value));
  }
  // Its bits: 0.0 and -0.0 differ.
  constexpr Hash64& add(float value) { return add_word(std::bit_cast<std::uint32_t>(value)); }

  // Their number, then the bytes eight at a time, the last of them filled up with zeros.
  Hash64& add(std::span<const std::byte> bytes) {
    add(bytes.size());
    for (; !bytes.empty(); bytes = bytes.subspan(std::min(bytes.size(), sizeof(std::uint64_t)))) {
      std::uint64_t word = 0;
      std::memcpy(&word, bytes.data(), std::min(bytes.size(), sizeof word));
      add_word(word);
    }
    return *this;
  }

  constexpr std::uint64_t value() const { return state_; }

 private:
  // The finalizer of MurmurHash3 over the state and the new word: a bijection of either, so two
  // inputs that differ in one word never collide. (Source: Appleby, MurmurHash3, fmix64.)
  constexpr Hash64& add_word(std::uint64_t word) {
    std::uint64_t x = (state_ ^ word) + 0x9E3779B97F4A7C15;
    x = (x ^ (x >> 33)) * 0xFF51AFD7ED558CCD;
    x = (x ^ (x >> 33)) * 0xC4CEB9FE1A85EC53;
    state_ = x ^ (x >> 33);
    return *this;
  }

  std::uint64_t state_ = 0;
};

}  // namespace lockstep
