// JSON files that cannot be trusted: bounded parsing and typed fields.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace lockstep::model {

// Parses `text`. Throws Error naming the file when it is not JSON in UTF-8, nests deeper than
// kMaxJsonDepth, or has an object with the same key twice.
nlohmann::json parse_json(std::string_view text, const std::string& file);

// Parses a whole file. Throws Error also when it is larger than `limit` bytes or not there.
nlohmann::json read_json(const std::string& file, std::uint64_t limit);

// The text of a whole file of at most `limit` bytes; throws Error as above.
std::string read_text(const std::string& file, std::uint64_t limit);

// Typed access to the members of one JSON object. An accessor gives nothing when the member is
// absent or null, and throws Error "<file>: <field>: ..." when it has another type or lies outside
// the range. Fields of nested objects are named "outer.inner".
class JsonFields {
 public:
  // Throws Error when `value` is not an object. REQUIRES: `value` outlives this.
  JsonFields(const nlohmann::json& value, std::string file, std::string prefix = "");

  bool has(std::string_view key) const { return find(key) != nullptr; }
  // The member, or nullptr when it is absent or null.
  const nlohmann::json* find(std::string_view key) const;
  std::optional<std::int64_t> integer(std::string_view key, std::int64_t low,
                                      std::int64_t high) const;
  std::optional<double> number(std::string_view key, double low, double high) const;
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::string> string(std::string_view key) const;
  std::optional<JsonFields> object(std::string_view key) const;
  // A member that is an array, or nullptr.
  const nlohmann::json* array(std::string_view key) const;

  // The value of an accessor, or Error "<field>: is missing".
  template <class T>
  T require(std::string_view key, std::optional<T> value) const {
    if (!value) fail_at(key, "is missing");
    return *std::move(value);
  }

  // Throws Error "<file>: <field>: <message>".
  [[noreturn]] void fail_at(std::string_view key, const std::string& message) const;
  const std::string& file() const { return file_; }
  const nlohmann::json& value() const { return *value_; }

 private:
  const nlohmann::json* value_;
  std::string file_;
  std::string prefix_;
};

}  // namespace lockstep::model
