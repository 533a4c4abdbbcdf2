#include "model/json_file.h"

#include <sstream>
#include <unordered_set>
#include <vector>

#include "model/fail.h"
#include "model/limits.h"
#include "model/mapped_file.h"

namespace lockstep::model {
namespace {

using nlohmann::json;

MappedFile open_bounded(const std::string& file, std::uint64_t limit) {
  MappedFile mapped(file);
  if (mapped.bytes().size() > limit) {
    fail(file,
         std::to_string(mapped.bytes().size()) + " bytes; the limit is " + std::to_string(limit));
  }
  return mapped;
}

}  // namespace

json parse_json(std::string_view text, const std::string& file) {
  std::vector<std::unordered_set<std::string>> keys;  // of the objects that are open
  const auto check = [&](int depth, json::parse_event_t event, json& parsed) {
    if (depth > kMaxJsonDepth) {
      fail(file, "JSON nests deeper than " + std::to_string(kMaxJsonDepth) + " levels");
    }
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys.back().insert(key).second) fail(file, "key " + in_quotes(key) + " is there twice");
    }
    return true;
  };
  try {
    return json::parse(text, check);
  } catch (const json::exception& error) {
    fail(file, std::string("is not valid JSON: ") + error.what());
  }
}

json read_json(const std::string& file, std::uint64_t limit) {
  return parse_json(open_bounded(file, limit).text(), file);
}

std::string read_text(const std::string& file, std::uint64_t limit) {
  return std::string(open_bounded(file, limit).text());
}

JsonFields::JsonFields(const json& value, std::string file, std::string prefix)
    : value_(&value), file_(std::move(file)), prefix_(std::move(prefix)) {
  if (value.is_object()) return;
  fail(file_, prefix_.empty() ? "is not a JSON object"
                              : prefix_.substr(0, prefix_.size() - 1) + ": is not an object");
}

const json* JsonFields::find(std::string_view key) const {
  const auto found = value_->find(key);
  return found == value_->end() || found->is_null() ? nullptr : &*found;
}

std::optional<std::int64_t> JsonFields::integer(std::string_view key, std::int64_t low,
                                                std::int64_t high) const {
  const json* field = find(key);
  if (field == nullptr) return std::nullopt;
  // A number above INT64_MAX turns negative in get<int64_t>.
  const bool fits = field->is_number_integer() &&
                    !(field->is_number_unsigned() && field->get<std::uint64_t>() > INT64_MAX);
  if (!fits || field->get<std::int64_t>() < low || field->get<std::int64_t>() > high) {
    fail_at(key, "is not an integer from " + std::to_string(low) + " to " + std::to_string(high));
  }
  return field->get<std::int64_t>();
}

std::optional<double> JsonFields::number(std::string_view key, double low, double high) const {
  const json* field = find(key);
  if (field == nullptr) return std::nullopt;
  if (!field->is_number() || !(field->get<double>() >= low && field->get<double>() <= high)) {
    std::ostringstream expected;
    expected << "is not a number from " << low << " to " << high;
    fail_at(key, expected.str());
  }
  return field->get<double>();
}

std::optional<bool> JsonFields::boolean(std::string_view key) const {
  const json* field = find(key);
  if (field == nullptr) return std::nullopt;
  if (!field->is_boolean()) fail_at(key, "is not true or false");
  return field->get<bool>();
}

std::optional<std::string> JsonFields::string(std::string_view key) const {
  const json* field = find(key);
  if (field == nullptr) return std::nullopt;
  if (!field->is_string()) fail_at(key, "is not a string");
  return field->get<std::string>();
}

std::optional<JsonFields> JsonFields::object(std::string_view key) const {
  const json* field = find(key);
  if (field == nullptr) return std::nullopt;
  return JsonFields(*field, file_, prefix_ + std::string(key) + ".");
}

const json* JsonFields::array(std::string_view key) const {
  const json* field = find(key);
  if (field != nullptr && !field->is_array()) fail_at(key, "is not an array");
  return field;
}

void JsonFields::fail_at(std::string_view key, const std::string& message) const {
  fail(file_, prefix_ + std::string(key) + ": " + message);
}

}  // namespace lockstep::model
