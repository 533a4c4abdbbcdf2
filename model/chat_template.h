// A model's chat template: Jinja source, interpreted.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/error.h"

namespace lockstep::model {

class ChatTemplate {
 public:
  // Parses `source`; throws Error with line and column. bos and eos are the tokens' texts.
  ChatTemplate(const std::string& source, std::string bos_token, std::string eos_token);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;

  // The prompt text for `messages` (a JSON array of {role, content, ...}). `extra` is an object of
  // further variables (tools, documents, enable_thinking, ...). A template's raise_exception() and
  // its limits on time, depth and output become a Fault.
  Result<std::string> render(const nlohmann::json& messages, bool add_generation_prompt,
                             const nlohmann::json& extra) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep::model
