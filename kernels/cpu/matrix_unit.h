// What this folder asks of a matrix unit, and when it is in use. All of it is Intel's AMX (amx.cc);
// a test has an emulation, so that what is right here does not wait for a machine that has one.
//
// A unit U has four tiles of sums, 16 numbers in f32 in each of their rows, and multiplies bf16:
//
//   U::zero<i>()                    the sums of tile i
//   U::store<i>(memory, stride)     the same, `stride` bytes from row to row
//   U::release()                    it is in use no more
//
// A product is row . column: of each half of their pairs one sum in order, both added, then added
// to the tile's (TDPBF16PS: Intel's Software Developer's Manual).
//
// For products with weights, sums have a row an output and a column a token:
//   U::configure(tokens)            tiles have so many tokens, 1 to 16
//   U::load_weights<w>(memory)      w = 0, 1: 16 outputs by 32 columns, row after row
//   U::load_tokens<t>(memory)       t = 0, 1: 16 pairs of columns by the tokens, 64 bytes apart
//   U::multiply<i, w, t>()          sums i += weights w by tokens t
//
// For attention, sums have a row a query:
//   U::configure_attention(queries) tiles have so many queries, 1 to 16
//   U::load_queries(memory, stride) queries by 32 dimensions
//   U::load_keys(memory)            16 pairs of dimensions by 16 positions, 64 bytes apart
//   U::score<i>()                   sums i += queries by keys
//   U::load_shares(memory, stride)  queries by 16 positions
//   U::load_values(memory, stride)  8 pairs of positions by 16 dimensions
//   U::weigh<i>()                   sums i += shares by values
#pragma once

#include "kernels/cpu/kernel_table.h"

namespace lockstep::kernels::cpu {

inline constexpr int kUnitOutputs = 16;
inline constexpr int kUnitTokens = kTileTokens;
inline constexpr int kUnitSums = 4;  // tiles of them
static_assert(kUnitOutputs == kRowBlock && kUnitTokens == 16);

// Bytes of a tile of weights, or of tokens: 16 x 32 numbers in bf16.
inline constexpr std::int64_t kUnitTileBytes = 1024;

// The unit is in use while this lives. Vectors multiply at half their speed meanwhile: what does
// not need the unit is done without.
template <class U>
class UnitInUse {
 public:
  explicit UnitInUse(std::int64_t tokens) {
    U::configure(static_cast<int>(tokens < kUnitTokens ? tokens : kUnitTokens));
  }
  ~UnitInUse() { U::release(); }
  UnitInUse(const UnitInUse&) = delete;
  UnitInUse& operator=(const UnitInUse&) = delete;
};

}  // namespace lockstep::kernels::cpu
