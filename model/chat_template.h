// A model's chat template: Jinja source, interpreted.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "model/tokenizer.h"

namespace lockstep::model {

// The language is jinja2's as Hugging Face configures it (an immutable sandbox, trim_blocks,
// lstrip_blocks, loop controls, raise_exception, strftime_now, its own tojson). Its limits are in
// model/jinja_limits.h. Rendering is const and thread-safe.
class ChatTemplate {
 public:
  // Parses `source`; throws Error with line and column. bos and eos are the tokens' bytes; what is
  // not UTF-8 in them becomes U+FFFD. `tool_use_source`, where there is one, is the template of
  // requests with tools (a non-empty `tools`).
  ChatTemplate(const std::string& source, std::string_view bos_token, std::string_view eos_token,
               const std::string& tool_use_source = "");
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;

  // Whether the template has a place for a request's tools: else it would leave them out.
  bool takes_tools() const;

  // The prompt text for `messages` (a JSON array of {role, content, ...}). `extra` is an object of
  // further variables (tools, documents, enable_thinking, ...), or null for none; `tools` and
  // `documents` are none when it does not have them. Objects keep the order of their keys, which
  // tojson shows to the model: parse with ordered_json (json converts, its keys sorted already).
  // A template's raise_exception() and its limits on time, depth and output become a Fault, and so
  // does an extra variable that would replace one of the template's own.
  Result<std::string> render(const nlohmann::ordered_json& messages, bool add_generation_prompt,
                             const nlohmann::ordered_json& extra) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The chat template of a model, nullopt when it has none. Throws Error "<path>: ..." where it
// cannot be parsed.
std::optional<ChatTemplate> make_chat_template(const Tokenizer& tokenizer, const std::string& path);

}  // namespace lockstep::model
