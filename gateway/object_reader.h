// Reads the typed members of a JSON object that a client sent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "gateway/json_text.h"

namespace lockstep::gateway {

struct IntegerRange {
  std::int64_t low = 0;
  std::int64_t high = std::numeric_limits<std::int32_t>::max();
};

struct NumberRange {
  double low = 0;
  double high = 0;
  bool above_low = false;  // low itself is outside
};

// The first fault of a whole request. Later ones are dropped: one is enough to refuse it.
class FaultSlot {
 public:
  // `rule` continues the sentence "'param' ...".
  void refuse(const std::string& param, const std::string& rule);
  // With an error code and a message of its own.
  void refuse(Fault fault);

  const std::optional<Fault>& fault() const { return fault_; }

 private:
  std::optional<Fault> fault_;
};

// One object. Each member is taken by the function of its type; one that is absent or null leaves
// `to` as it is. What is wrong goes to the slot, and `to` stays as it is.
class ObjectReader {
 public:
  // `path` names the object in faults, e.g. "messages[2]"; empty for the whole body. `object` and
  // `faults` must outlive the reader. A value that is no object is a fault.
  ObjectReader(const Json& object, std::string path, FaultSlot& faults);

  void boolean(std::string_view name, bool& to);
  void integer(std::string_view name, IntegerRange range, std::int32_t& to);
  void integer(std::string_view name, IntegerRange range, std::optional<std::int32_t>& to);
  void unsigned_integer(std::string_view name, std::optional<std::uint64_t>& to);
  void number(std::string_view name, NumberRange range, float& to);
  void text(std::string_view name, std::size_t max_bytes, std::optional<std::string>& to);
  void texts(std::string_view name, std::size_t max_items, std::size_t max_bytes,
             std::vector<std::string>& to);
  // An array of token ids: integers from 0 to 2^31 - 1.
  void token_ids(std::string_view name, std::size_t max_items, std::vector<std::int32_t>& to);

  // The member as it is, or nullptr when it is absent, null or not of that type.
  const Json* value(std::string_view name);
  const Json* array(std::string_view name, std::size_t max_items);
  const Json* object(std::string_view name);

  // Refuses every member that was not taken, but for those that are null and so ask for nothing.
  void finish();

  void refuse(std::string_view name, const std::string& rule);
  // The member's path from the body, e.g. "messages[2].role".
  std::string path_of(std::string_view name) const;
  FaultSlot& faults() { return faults_; }

 private:
  const Json& object_;
  std::string path_;
  FaultSlot& faults_;
  std::vector<std::string> taken_;
};

// For values that stand in arrays: the same checks, for the value at `path`.
std::optional<std::int32_t> read_integer(const Json& value, IntegerRange range,
                                         const std::string& path, FaultSlot& faults);
std::optional<float> read_number(const Json& value, NumberRange range, const std::string& path,
                                 FaultSlot& faults);
std::optional<std::string> read_text(const Json& value, std::size_t max_bytes,
                                     const std::string& path, FaultSlot& faults);

// "a string", "a number", "null", ...: what `value` is, for a message.
std::string type_phrase(const Json& value);

// "path[index]".
std::string element_path(const std::string& path, std::size_t index);

}  // namespace lockstep::gateway
