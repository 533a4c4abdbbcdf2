// What a chat template may cost. Exceeding a limit is an error that names it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lockstep::model::jinja {

inline constexpr std::size_t kMaxSourceBytes = std::size_t{1} << 20;
// Nesting of the source, of a value's containers, and of macro calls.
inline constexpr int kMaxNesting = 128;
// Blocks of statements and expressions inside each other at one moment, over all macro calls:
// bounds the native stack.
inline constexpr int kMaxEvaluationDepth = 2048;
// The rendered text, and any single string on the way to it.
inline constexpr std::size_t kMaxOutputBytes = std::size_t{16} << 20;
// One step is one syntax node, one element or kBytesPerStep bytes of text.
inline constexpr std::size_t kMaxSteps = 10'000'000;
inline constexpr std::size_t kBytesPerStep = 64;
// Names of variables that a look-up passes in one step.
inline constexpr std::size_t kNamesPerStep = 16;
// Elements of one range(), as in jinja2's sandbox.
inline constexpr std::int64_t kMaxRange = 100'000;

}  // namespace lockstep::model::jinja
