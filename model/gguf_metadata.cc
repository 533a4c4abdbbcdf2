#include "model/gguf_metadata.h"

#include <cmath>
#include <cstring>
#include <sstream>

#include "model/fail.h"

namespace lockstep::model {
namespace {

// The value as a signed integer: nothing when it is no integer or does not fit.
std::optional<std::int64_t> as_integer(const GgufValue& value) {
  if (const auto* number = std::get_if<std::int64_t>(&value)) return *number;
  if (const auto* number = std::get_if<std::uint64_t>(&value)) {
    if (*number <= static_cast<std::uint64_t>(INT64_MAX)) return static_cast<std::int64_t>(*number);
  }
  return std::nullopt;
}

std::string range_text(std::int64_t low, std::int64_t high) {
  return std::to_string(low) + " to " + std::to_string(high);
}

template <class T>
std::vector<std::int64_t> widen(std::span<const std::byte> bytes) {
  std::vector<std::int64_t> values(bytes.size() / sizeof(T));
  for (std::size_t i = 0; i < values.size(); ++i) {
    T value;
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
    values[i] = static_cast<std::int64_t>(value);
  }
  return values;
}

// Nothing when the elements are no integers. A uint64 beyond int64 turns negative.
std::optional<std::vector<std::int64_t>> widen(const GgufArray& array) {
  switch (array.element) {
    case GgufType::uint8: return widen<std::uint8_t>(array.scalars);
    case GgufType::int8: return widen<std::int8_t>(array.scalars);
    case GgufType::uint16: return widen<std::uint16_t>(array.scalars);
    case GgufType::int16: return widen<std::int16_t>(array.scalars);
    case GgufType::uint32: return widen<std::uint32_t>(array.scalars);
    case GgufType::int32: return widen<std::int32_t>(array.scalars);
    case GgufType::uint64: return widen<std::uint64_t>(array.scalars);
    case GgufType::int64: return widen<std::int64_t>(array.scalars);
    default: return std::nullopt;
  }
}

}  // namespace

bool GgufMetadata::add(std::string_view key, GgufValue value) {
  return values_.try_emplace(std::string(key), std::move(value)).second;
}

const GgufValue* GgufMetadata::find(std::string_view key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : &found->second;
}

std::optional<std::int64_t> GgufMetadata::integer(std::string_view key, std::int64_t low,
                                                  std::int64_t high) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  const auto number = as_integer(*value);
  if (!number || *number < low || *number > high) {
    fail_at(key, (number ? std::to_string(*number) + " is not" : std::string("is not")) +
                     " an integer from " + range_text(low, high));
  }
  return number;
}

std::optional<double> GgufMetadata::number(std::string_view key, double low, double high) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  const auto* number = std::get_if<double>(value);
  if (number == nullptr || !(*number >= low && *number <= high)) {
    std::ostringstream expected;
    expected << "is not a floating-point number from " << low << " to " << high;
    fail_at(key, expected.str());
  }
  return *number;
}

std::optional<bool> GgufMetadata::boolean(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  const auto* truth = std::get_if<bool>(value);
  if (truth == nullptr) fail_at(key, "is not a boolean");
  return *truth;
}

std::optional<std::string_view> GgufMetadata::string(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  const auto* text = std::get_if<std::string_view>(value);
  if (text == nullptr) fail_at(key, "is not a string");
  return *text;
}

std::optional<std::span<const std::string_view>> GgufMetadata::strings(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  const auto* array = std::get_if<GgufArray>(value);
  if (array == nullptr || array->element != GgufType::string) {
    fail_at(key, "is not an array of strings");
  }
  return array->strings;
}

std::optional<std::vector<std::int64_t>> GgufMetadata::integers(std::string_view key,
                                                                std::int64_t low,
                                                                std::int64_t high) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  const auto* array = std::get_if<GgufArray>(value);
  auto numbers = array == nullptr ? std::nullopt : widen(*array);
  if (!numbers) fail_at(key, "is not an array of integers");
  for (std::size_t i = 0; i < numbers->size(); ++i) {
    if ((*numbers)[i] < low || (*numbers)[i] > high) {
      fail_at(key,
              "element " + std::to_string(i) + " is not an integer from " + range_text(low, high));
    }
  }
  return numbers;
}

std::optional<std::vector<float>> GgufMetadata::floats(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  const auto* array = std::get_if<GgufArray>(value);
  if (array == nullptr || array->element != GgufType::float32) {
    fail_at(key, "is not an array of float32");
  }
  std::vector<float> numbers(array->scalars.size() / sizeof(float));
  std::memcpy(numbers.data(), array->scalars.data(), numbers.size() * sizeof(float));
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    if (!std::isfinite(numbers[i])) {
      fail_at(key, "element " + std::to_string(i) + " is not a finite number");
    }
  }
  return numbers;
}

void GgufMetadata::fail_at(std::string_view key, const std::string& message) const {
  fail(file_, "metadata " + in_quotes(key) + ": " + message);
}

void GgufMetadata::fail_missing(std::string_view key) const {
  fail(file_, "metadata " + in_quotes(key) + " is missing");
}

}  // namespace lockstep::model
