#include "gateway/object_reader.h"

#include <algorithm>
#include <utility>

namespace lockstep::gateway {
namespace {

std::string range_phrase(const std::string& low, const std::string& high, bool above_low) {
  return std::string(above_low ? "must be above " : "must be at least ") + low + " and at most " +
         high;
}

std::string number_phrase(double value) { return json_text(Json(value)); }

}  // namespace

void FaultSlot::refuse(const std::string& param, const std::string& rule) {
  refuse(Fault{"invalid_request_error", "'" + param + "' " + rule, param});
}

void FaultSlot::refuse(Fault fault) {
  if (!fault_) fault_ = std::move(fault);
}

std::string type_phrase(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null: return "null";
    case Json::value_t::boolean: return "a boolean";
    case Json::value_t::string: return "a string";
    case Json::value_t::array: return "an array";
    case Json::value_t::object: return "an object";
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned: return "an integer";
    case Json::value_t::number_float: return "a number";
    default: return "something else";
  }
}

std::string element_path(const std::string& path, std::size_t index) {
  return path + '[' + std::to_string(index) + ']';
}

std::optional<std::int32_t> read_integer(const Json& value, IntegerRange range,
                                         const std::string& path, FaultSlot& faults) {
  if (!value.is_number_integer()) {
    faults.refuse(path, "must be an integer, not " + type_phrase(value));
    return std::nullopt;
  }
  // Beyond int64 there are only huge unsigned numbers, and no range reaches there.
  const bool huge = value.is_number_unsigned() &&
                    value.get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max();
  const std::int64_t number = huge ? 0 : value.get<std::int64_t>();
  if (huge || number < range.low || number > range.high) {
    faults.refuse(path,
                  "is " + json_text(value) + ", " +
                      range_phrase(std::to_string(range.low), std::to_string(range.high), false));
    return std::nullopt;
  }
  return static_cast<std::int32_t>(number);
}

std::optional<float> read_number(const Json& value, NumberRange range, const std::string& path,
                                 FaultSlot& faults) {
  if (!value.is_number()) {
    faults.refuse(path, "must be a number, not " + type_phrase(value));
    return std::nullopt;
  }
  // Checked as the float that is sent: a tiny positive double may round to zero.
  const double exact = value.get<double>();
  const float number = static_cast<float>(exact);
  const bool low_enough = exact <= range.high;
  const bool high_enough = range.above_low ? number > range.low : exact >= range.low;
  if (!low_enough || !high_enough) {
    faults.refuse(path, "is " + json_text(value) + ", " +
                            range_phrase(number_phrase(range.low), number_phrase(range.high),
                                         range.above_low));
    return std::nullopt;
  }
  return number;
}

std::optional<std::string> read_text(const Json& value, std::size_t max_bytes,
                                     const std::string& path, FaultSlot& faults) {
  if (!value.is_string()) {
    faults.refuse(path, "must be a string, not " + type_phrase(value));
    return std::nullopt;
  }
  const auto& text = value.get_ref<const std::string&>();
  if (text.size() > max_bytes) {
    faults.refuse(path, "has " + std::to_string(text.size()) + " bytes, must have at most " +
                            std::to_string(max_bytes));
    return std::nullopt;
  }
  return text;
}

ObjectReader::ObjectReader(const Json& object, std::string path, FaultSlot& faults)
    : object_(object), path_(std::move(path)), faults_(faults) {
  if (object_.is_object()) return;
  if (path_.empty()) {
    faults_.refuse(Fault{"invalid_request_error",
                         "the body must be a JSON object, not " + type_phrase(object_), ""});
  } else {
    faults_.refuse(path_, "must be an object, not " + type_phrase(object_));
  }
}

const Json* ObjectReader::value(std::string_view name) {
  taken_.emplace_back(name);
  if (!object_.is_object()) return nullptr;
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

void ObjectReader::boolean(std::string_view name, bool& to) {
  const Json* from = value(name);
  if (from == nullptr) return;
  if (!from->is_boolean()) return refuse(name, "must be a boolean, not " + type_phrase(*from));
  to = from->get<bool>();
}

void ObjectReader::integer(std::string_view name, IntegerRange range, std::int32_t& to) {
  std::optional<std::int32_t> number;
  integer(name, range, number);
  to = number.value_or(to);
}

void ObjectReader::integer(std::string_view name, IntegerRange range,
                           std::optional<std::int32_t>& to) {
  if (const Json* from = value(name)) {
    if (auto number = read_integer(*from, range, path_of(name), faults_)) to = number;
  }
}

void ObjectReader::unsigned_integer(std::string_view name, std::optional<std::uint64_t>& to) {
  const Json* from = value(name);
  if (from == nullptr) return;
  if (!from->is_number_integer()) {
    return refuse(name, "must be an integer, not " + type_phrase(*from) +
                            ", and at most 18446744073709551615");
  }
  if (!from->is_number_unsigned()) {
    return refuse(
        name, "is " + json_text(*from) + ", must be at least 0 and at most 18446744073709551615");
  }
  to = from->get<std::uint64_t>();
}

void ObjectReader::number(std::string_view name, NumberRange range, float& to) {
  if (const Json* from = value(name)) {
    to = read_number(*from, range, path_of(name), faults_).value_or(to);
  }
}

void ObjectReader::text(std::string_view name, std::size_t max_bytes,
                        std::optional<std::string>& to) {
  if (const Json* from = value(name)) {
    if (auto read = read_text(*from, max_bytes, path_of(name), faults_)) to = std::move(read);
  }
}

void ObjectReader::texts(std::string_view name, std::size_t max_items, std::size_t max_bytes,
                         std::vector<std::string>& to) {
  const Json* from = array(name, max_items);
  if (from == nullptr) return;
  for (std::size_t i = 0; i < from->size(); ++i) {
    auto read = read_text((*from)[i], max_bytes, element_path(path_of(name), i), faults_);
    if (!read) return;
    to.push_back(*std::move(read));
  }
}

void ObjectReader::token_ids(std::string_view name, std::size_t max_items,
                             std::vector<std::int32_t>& to) {
  const Json* from = array(name, max_items);
  if (from == nullptr) return;
  for (std::size_t i = 0; i < from->size(); ++i) {
    auto id = read_integer((*from)[i], {}, element_path(path_of(name), i), faults_);
    if (!id) return;
    to.push_back(*id);
  }
}

const Json* ObjectReader::array(std::string_view name, std::size_t max_items) {
  const Json* from = value(name);
  if (from == nullptr) return nullptr;
  if (!from->is_array()) {
    refuse(name, "must be an array, not " + type_phrase(*from));
    return nullptr;
  }
  if (from->size() > max_items) {
    refuse(name, "has " + std::to_string(from->size()) + " elements, must have at most " +
                     std::to_string(max_items));
    return nullptr;
  }
  return from;
}

const Json* ObjectReader::object(std::string_view name) {
  const Json* from = value(name);
  if (from == nullptr || from->is_object()) return from;
  refuse(name, "must be an object, not " + type_phrase(*from));
  return nullptr;
}

void ObjectReader::finish() {
  if (!object_.is_object()) return;
  for (const auto& [name, member] : object_.items()) {
    if (!member.is_null() && std::find(taken_.begin(), taken_.end(), name) == taken_.end()) {
      return refuse(shortened(name), "is not a supported field");
    }
  }
}

void ObjectReader::refuse(std::string_view name, const std::string& rule) {
  faults_.refuse(path_of(name), rule);
}

std::string ObjectReader::path_of(std::string_view name) const {
  return path_.empty() ? std::string(name) : path_ + '.' + std::string(name);
}

}  // namespace lockstep::gateway
