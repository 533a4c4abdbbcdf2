// A tokenizer that takes as long as a test says.
#pragma once

#include <atomic>
#include <chrono>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "tests/coordinator/fake_tokenizer.h"

namespace lockstep::coordinator::testing {

// Encodes a text of more than one letter that begins with "z" only while the gate is open.
class GatedTokenizer : public FakeTokenizer {
 public:
  GatedTokenizer() : FakeTokenizer(letters()) {}

  std::vector<std::int32_t> encode(std::string_view text, EncodeOptions options) const override {
    ++num_encoded;
    while (!open && text.starts_with("zz"))
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return FakeTokenizer::encode(text, options);
  }

  std::atomic<bool> open = true;
  mutable std::atomic<int> num_encoded = 0;  // begun
};

}  // namespace lockstep::coordinator::testing
