#include "model/chat_template.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "model/fail.h"
#include "model/jinja_globals.h"
#include "model/jinja_interpreter.h"
#include "model/jinja_lexer.h"
#include "model/jinja_parser.h"
#include "model/jinja_print.h"
#include "model/utf8.h"

namespace lockstep::model {
namespace {

constexpr std::array<std::string_view, 5> kReserved = {"messages", "bos_token", "eos_token",
                                                       "raise_exception", "add_generation_prompt"};

using Variables = std::vector<std::pair<std::string_view, jinja::Value>>;

Fault invalid_request(std::string message, std::string param) {
  return {"invalid_request_error", std::move(message), std::move(param)};
}

// Adds one variable from a request; the fault names it. REQUIRES: `name` outlives `variables`.
Result<bool> add_variable(jinja::Runtime& runtime, std::string_view name,
                          const nlohmann::ordered_json& json, Variables& variables) {
  try {
    variables.emplace_back(name, jinja::from_json(runtime, json));
    return true;
  } catch (const jinja::TemplateError& error) {
    return invalid_request(std::string(name) + ": " + error.what(), std::string(name));
  }
}

Result<bool> add_extra(jinja::Runtime& runtime, const nlohmann::ordered_json& extra,
                       Variables& variables) {
  if (extra.is_null()) return true;
  if (!extra.is_object()) {
    return invalid_request("template variables must be an object", "chat_template_kwargs");
  }
  for (const auto& item : extra.items()) {
    if (std::find(kReserved.begin(), kReserved.end(), item.key()) != kReserved.end()) {
      return invalid_request("the template variable '" + item.key() + "' cannot be replaced",
                             item.key());
    }
    const Result<bool> added = add_variable(runtime, item.key(), item.value(), variables);
    if (!added) return added.fault();
  }
  return true;
}

// Whether an expression of a template has the variable `tools`; attributes of that name do not
// count.
bool has_place_for_tools(const std::string& source) {
  bool attribute = false;
  for (const jinja::Token& token : jinja::tokenize(source)) {
    if (token.kind == jinja::TokenKind::kName && token.text == "tools" && !attribute) return true;
    attribute = token.kind == jinja::TokenKind::kOperator && token.text == ".";
  }
  return false;
}

bool has_tools(const nlohmann::ordered_json& extra) {
  if (!extra.is_object()) return false;
  const auto tools = extra.find("tools");
  return tools != extra.end() && !tools->empty();  // null is empty, too
}

// A token may be half a character; a template's texts are whole ones.
std::string repaired(std::string_view bytes) {
  std::string text;
  append_repaired_utf8(bytes, /*more_follows=*/false, text);
  return text;
}

}  // namespace

struct ChatTemplate::Impl {
  jinja::Body body;
  bool takes_tools;
  std::optional<jinja::Body> body_with_tools;
  std::string bos_token;
  std::string eos_token;
};

ChatTemplate::ChatTemplate(const std::string& source, std::string_view bos_token,
                           std::string_view eos_token, const std::string& tool_use_source)
    : impl_(std::make_unique<Impl>(
          Impl{jinja::parse_template(source),
               has_place_for_tools(tool_use_source.empty() ? source : tool_use_source),
               std::nullopt, repaired(bos_token), repaired(eos_token)})) {
  if (!tool_use_source.empty()) impl_->body_with_tools = jinja::parse_template(tool_use_source);
}

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;

bool ChatTemplate::takes_tools() const { return impl_->takes_tools; }

Result<std::string> ChatTemplate::render(const nlohmann::ordered_json& messages,
                                         bool add_generation_prompt,
                                         const nlohmann::ordered_json& extra) const {
  if (!messages.is_array()) return invalid_request("messages must be an array", "messages");
  jinja::Runtime runtime;
  Variables variables = {{"tools", jinja::None{}},
                         {"documents", jinja::None{}},
                         {"bos_token", impl_->bos_token},
                         {"eos_token", impl_->eos_token},
                         {"add_generation_prompt", add_generation_prompt}};
  for (const Result<bool>& added : {add_variable(runtime, "messages", messages, variables),
                                    add_extra(runtime, extra, variables)}) {
    if (!added) return added.fault();
  }
  jinja::Interpreter interpreter(runtime, std::move(variables));
  try {
    const bool uses_tools = impl_->body_with_tools && has_tools(extra);
    return interpreter.render(uses_tools ? *impl_->body_with_tools : impl_->body);
  } catch (const jinja::RaisedException& raised) {
    return invalid_request(raised.what(), "messages");
  } catch (const jinja::TemplateError& error) {
    const jinja::Position at = interpreter.where();
    return invalid_request("chat template, line " + std::to_string(at.line) + ", column " +
                               std::to_string(at.column) + ": " + error.what(),
                           "messages");
  }
}

std::optional<ChatTemplate> make_chat_template(const Tokenizer& tokenizer,
                                               const std::string& path) {
  const TokenizerSpec& spec = tokenizer.spec();
  if (spec.chat_template.empty()) return std::nullopt;
  const auto bytes_of = [&](std::optional<std::int32_t> id) {
    return id ? tokenizer.token_bytes(*id) : std::string_view();
  };
  try {
    return ChatTemplate(spec.chat_template, bytes_of(spec.bos_token_id),
                        bytes_of(spec.eos_token_id), spec.tool_use_template);
  } catch (const Error& error) {
    fail(path, error.what());
  }
}

}  // namespace lockstep::model
