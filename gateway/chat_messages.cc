#include "gateway/chat_messages.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace lockstep::gateway {
namespace {

constexpr std::size_t kMaxMessages = 8192;
constexpr std::size_t kMaxParts = 1024;
constexpr std::size_t kMaxToolCalls = 128;
constexpr std::size_t kMaxTools = 128;
constexpr std::size_t kMaxNameBytes = 256;
constexpr std::size_t kMaxTextBytes = std::size_t{4} << 20;

constexpr std::array<std::string_view, 5> kRoles = {"system", "developer", "user", "assistant",
                                                    "tool"};

// The text of a list of parts such as {"type": "text", "text": "..."}.
std::string read_parts(const Json& parts, const std::string& path, FaultSlot& faults) {
  if (parts.size() > kMaxParts) {
    faults.refuse(path, "has " + std::to_string(parts.size()) + " parts, must have at most " +
                            std::to_string(kMaxParts));
    return {};
  }
  std::string text;
  for (std::size_t i = 0; i < parts.size() && !faults.fault(); ++i) {
    ObjectReader part(parts[i], element_path(path, i), faults);
    std::optional<std::string> type;
    part.text("type", kMaxTextBytes, type);
    if (!type) {
      part.refuse("type", "is required");
    } else if (*type != "text") {
      part.refuse("type", "is '" + shortened(*type) + "', only 'text' is supported");
    }
    std::optional<std::string> piece;
    part.text("text", kMaxTextBytes, piece);
    if (!piece) part.refuse("text", "is required");
    part.finish();
    if (i > 0) text += '\n';
    text += piece.value_or("");
  }
  return text;
}

std::optional<std::string> read_content(ObjectReader& message) {
  const Json* content = message.value("content");
  if (content == nullptr) return std::nullopt;
  const std::string path = message.path_of("content");
  if (content->is_array()) return read_parts(*content, path, message.faults());
  if (content->is_string()) return content->get<std::string>();
  message.refuse("content", "must be a string or an array of parts, not " + type_phrase(*content));
  return std::nullopt;
}

Json read_tool_call(const Json& from, const std::string& path, FaultSlot& faults) {
  ObjectReader call(from, path, faults);
  std::optional<std::string> id, type, name, arguments;
  call.text("id", kMaxNameBytes, id);
  if (!id) call.refuse("id", "is required");
  call.text("type", kMaxTextBytes, type);
  if (type.value_or("function") != "function") {
    call.refuse("type", "is '" + shortened(*type) + "', only 'function' is supported");
  }
  const Json* function_object = call.object("function");
  if (function_object == nullptr) {
    call.refuse("function", "is required");
    return {};
  }
  call.finish();
  ObjectReader function(*function_object, call.path_of("function"), faults);
  function.text("name", kMaxNameBytes, name);
  if (!name) function.refuse("name", "is required");
  function.text("arguments", kMaxTextBytes, arguments);
  if (!arguments) function.refuse("arguments", "is required");
  function.finish();
  if (faults.fault()) return {};
  // Empty where there are none, as of a stream whose calls had no arguments.
  Result<Json> parsed = arguments->empty() ? Result<Json>(Json::object()) : parse_json(*arguments);
  if (!parsed || !parsed->is_object()) {
    function.refuse("arguments", "must be the text of a JSON object");
    return {};
  }
  return {{"id", *id},
          {"type", "function"},
          {"function", {{"name", *name}, {"arguments", *std::move(parsed)}}}};
}

Json read_tool_calls(ObjectReader& message) {
  Json calls = Json::array();
  if (const Json* from = message.array("tool_calls", kMaxToolCalls)) {
    const std::string path = message.path_of("tool_calls");
    for (std::size_t i = 0; i < from->size() && !message.faults().fault(); ++i) {
      calls.push_back(read_tool_call((*from)[i], element_path(path, i), message.faults()));
    }
  }
  return calls;
}

std::string read_role(ObjectReader& message) {
  std::optional<std::string> role;
  message.text("role", kMaxTextBytes, role);
  if (!role) {
    message.refuse("role", "is required");
  } else if (std::find(kRoles.begin(), kRoles.end(), *role) == kRoles.end()) {
    message.refuse("role", "is '" + shortened(*role) +
                               "', must be system, developer, user, assistant or tool");
  }
  return role.value_or("");
}

void copy_text(ObjectReader& message, std::string_view name, std::size_t max_bytes, Json& to) {
  std::optional<std::string> text;
  message.text(name, max_bytes, text);
  if (text) to[std::string(name)] = *std::move(text);
}

// What a client that sends an answer back may have in it besides.
void read_assistant_members(ObjectReader& message, Json& to) {
  Json calls = read_tool_calls(message);
  if (!calls.empty()) to["tool_calls"] = std::move(calls);
  copy_text(message, "reasoning_content", kMaxTextBytes, to);
  copy_text(message, "refusal", kMaxTextBytes, to);
  message.array("annotations", 0);
}

Json read_message(const Json& from, const std::string& path, FaultSlot& faults) {
  ObjectReader message(from, path, faults);
  const std::string role = read_role(message);
  const std::optional<std::string> content = read_content(message);
  // None is an empty text to templates, which look into it.
  Json to = {{"role", role}, {"content", content.value_or("")}};
  copy_text(message, "name", kMaxNameBytes, to);
  if (role == "assistant") read_assistant_members(message, to);
  if (role == "tool") {
    copy_text(message, "tool_call_id", kMaxNameBytes, to);
    if (!to.contains("tool_call_id")) message.refuse("tool_call_id", "is required");
  }
  if (!content && !to.contains("tool_calls")) message.refuse("content", "is required");
  message.finish();
  return to;
}

void check_tool(const Json& from, const std::string& path, FaultSlot& faults) {
  ObjectReader tool(from, path, faults);
  std::optional<std::string> type, name;
  tool.text("type", kMaxTextBytes, type);
  if (!type) {
    tool.refuse("type", "is required");
  } else if (*type != "function") {
    tool.refuse("type", "is '" + shortened(*type) + "', only 'function' is supported");
  }
  const Json* function_object = tool.object("function");
  if (function_object == nullptr) return tool.refuse("function", "is required");
  tool.finish();
  ObjectReader function(*function_object, tool.path_of("function"), faults);
  function.text("name", kMaxNameBytes, name);
  if (!name) function.refuse("name", "is required");
  std::optional<std::string> description;
  function.text("description", kMaxTextBytes, description);
  function.object("parameters");
  bool strict = false;
  function.boolean("strict", strict);
  // It would promise that calls follow the schema, and nothing here enforces one.
  if (strict) function.refuse("strict", "is true, which is not supported");
  function.finish();
}

}  // namespace

std::string read_messages(ObjectReader& body) {
  const Json* from = body.array("messages", kMaxMessages);
  if (from == nullptr) {
    body.refuse("messages", "is required");
    return {};
  }
  if (from->empty()) body.refuse("messages", "must have at least 1 message");
  Json messages = Json::array();
  for (std::size_t i = 0; i < from->size() && !body.faults().fault(); ++i) {
    messages.push_back(read_message((*from)[i], element_path("messages", i), body.faults()));
  }
  if (body.faults().fault()) return {};
  std::string text = json_text(messages);
  if (text.size() > kMaxTextBytes) {
    body.refuse("messages", "has " + std::to_string(text.size()) +
                                " bytes as JSON, must have at most " +
                                std::to_string(kMaxTextBytes));
  }
  return text;
}

Json read_tools(ObjectReader& body) {
  const Json* tools = body.array("tools", kMaxTools);
  if (tools == nullptr) return nullptr;
  for (std::size_t i = 0; i < tools->size() && !body.faults().fault(); ++i) {
    check_tool((*tools)[i], element_path("tools", i), body.faults());
  }
  return *tools;
}

}  // namespace lockstep::gateway
