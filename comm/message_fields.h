// Structs to msgpack maps and back (comm/field_writer.h, comm/field_reader.h) from one table of
// fields a struct, so that what is written and what is read cannot drift apart:
//
//   template <class Io>
//   void fields(Io& io, Type<CancelRequest>) {
//     io.required("id", &CancelRequest::id, {.min_length = 1, .max_length = 128});
//   }
//
// `required` fields are always there; `optional` ones are left out when they have their default.
// Tables stand in namespace lockstep::comm, where argument-dependent lookup finds them. Only the
// codecs' sources include these three headers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace lockstep::comm {

// Names a struct for the overloads of fields().
template <class T>
struct Type {};

// What a field may hold, bounds included: `low` and `high` bound every number in it, the lengths a
// string's bytes or an array's (map's) elements, the item lengths the strings in an array.
struct Limit {
  static constexpr double kUnbounded = std::numeric_limits<double>::infinity();
  static constexpr std::size_t kAny = std::numeric_limits<std::size_t>::max();

  double low = -kUnbounded;
  double high = kUnbounded;
  bool above_low = false;  // `low` itself is not allowed
  std::size_t min_length = 0;
  std::size_t max_length = kAny;
  std::size_t min_item_length = 0;
  std::size_t max_item_length = kAny;
};

// Marks a string as bytes that need not be UTF-8: msgpack's bin type.
struct Bytes {};

// Token ids with a number each, ascending: msgpack's map type.
using BiasMap = std::vector<std::pair<std::int32_t, float>>;

}  // namespace lockstep::comm
