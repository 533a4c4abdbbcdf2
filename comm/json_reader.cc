#include "comm/json_reader.h"

#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace lockstep::comm {
namespace {

// Builds the value and knows at any moment where in it the text stands.
class StrictBuilder : public nlohmann::json_sax<Json> {
 public:
  explicit StrictBuilder(const std::string& name) : name_(name) {}

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return refuse(quoted_path() + " is binary data"); }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    Level& level = levels_.back();
    level.key = name;
    if (!level.keys.insert(name).second) return refuse(quoted_path() + " occurs twice");
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    // nlohmann-json's number for "number overflow".
    constexpr int kNumberOverflow = 406;
    if (error.id == kNumberOverflow) return refuse(quoted_path() + " is a number out of range");
    fault_ = Fault{"invalid_request_error",
                   (name_.empty() ? "the body" : "'" + name_ + "'") +
                       " is not valid JSON: error at byte " + std::to_string(position),
                   path()};
    return false;
  }

  Result<Json> take() {
    if (fault_) return *std::move(fault_);
    return std::move(root_);
  }

 private:
  struct Level {
    Json* container;
    std::string key;             // of an object's member that is being read
    std::set<std::string> keys;  // of its members so far
  };

  bool add(Json value) {
    place(std::move(value));
    return true;
  }

  bool open(Json container) {
    if (levels_.size() >= kMaxJsonDepth) {
      return refuse(quoted_path() + " is nested deeper than " + std::to_string(kMaxJsonDepth));
    }
    levels_.push_back({place(std::move(container)), {}, {}});
    return true;
  }

  bool close() {
    levels_.pop_back();
    return true;
  }

  Json* place(Json value) {
    if (levels_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Level& level = levels_.back();
    if (level.container->is_array()) {
      level.container->push_back(std::move(value));
      return &level.container->back();
    }
    // As the vector that it is: by its key, a member would be searched among all before it.
    auto& members = level.container->get_ref<Json::object_t&>();
    return &members.emplace_back(level.key, std::move(value)).second;
  }

  bool refuse(std::string message) {
    fault_ = Fault{"invalid_request_error", std::move(message), path()};
    return false;
  }

  std::string quoted_path() const {
    std::string text = "'";
    text += path();
    text += '\'';
    return text;
  }

  std::string path() const {
    constexpr std::size_t kMaxNamedLevels = 8;
    std::string text = name_;
    for (std::size_t i = 0; i < levels_.size() && i < kMaxNamedLevels; ++i) {
      const Json& container = *levels_[i].container;
      if (container.is_array()) {
        const bool has_open_child = i + 1 < levels_.size();
        text += '[' + std::to_string(container.size() - (has_open_child ? 1 : 0)) + ']';
      } else {
        if (!text.empty()) text += '.';
        text += shortened(levels_[i].key);
      }
    }
    return text;
  }

  const std::string& name_;
  Json root_;
  std::vector<Level> levels_;
  std::optional<Fault> fault_;
};

}  // namespace

Result<Json> parse_json(std::string_view text, const std::string& name) {
  StrictBuilder builder(name);
  // The builder's fault is the answer; the return value says no more.
  static_cast<void>(Json::sax_parse(text.begin(), text.end(), &builder));
  return builder.take();
}

std::string shortened(std::string_view name) {
  constexpr std::size_t kMaxBytes = 64;
  if (name.size() <= kMaxBytes) return std::string(name);
  std::size_t end = kMaxBytes - 3;
  while (end > 0 && (static_cast<unsigned char>(name[end]) & 0xc0) == 0x80) --end;
  return std::string(name.substr(0, end)) + "...";
}

}  // namespace lockstep::comm
