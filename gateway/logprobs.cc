#include "gateway/logprobs.h"

#include <algorithm>
#include <string_view>

namespace lockstep::gateway {
namespace {

// JSON has no infinity; this is what OpenAI and vLLM write for an impossible token.
constexpr float kLowestLogprob = -9999.0f;

float finite(float logprob) { return std::max(logprob, kLowestLogprob); }

bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) == 0x80; }

std::size_t count_code_points(std::string_view bytes) {
  return bytes.size() -
         static_cast<std::size_t>(std::count_if(bytes.begin(), bytes.end(), is_continuation));
}

bool is_utf8(const std::string& bytes) {
  const std::string quoted = Json(bytes).dump(-1, ' ', false, Json::error_handler_t::ignore);
  return Json::parse(quoted).get_ref<const std::string&>().size() == bytes.size();
}

// The completions format has no place for bytes: part of a character is written "bytes:\xe2\x82".
std::string printable(const std::string& token) {
  if (is_utf8(token)) return token;
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text = "bytes:";
  for (const char c : token) {
    const auto byte = static_cast<unsigned char>(c);
    text += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
  }
  return text;
}

Json chat_token(const comm::TokenDetail& token) {
  Json bytes = Json::array();
  for (const char byte : token.token) bytes.push_back(static_cast<unsigned char>(byte));
  return {{"token", token.token}, {"logprob", finite(token.logprob)}, {"bytes", std::move(bytes)}};
}

}  // namespace

Json chat_logprobs(const std::vector<comm::DeltaToken>& tokens) {
  Json content = Json::array();
  for (const comm::DeltaToken& token : tokens) {
    Json item = chat_token(token.chosen);
    Json top = Json::array();
    for (const comm::TokenDetail& candidate : token.top) top.push_back(chat_token(candidate));
    item["top_logprobs"] = std::move(top);
    content.push_back(std::move(item));
  }
  return content;
}

Json completion_logprobs(const std::vector<comm::DeltaToken>& tokens, std::size_t& text_offset) {
  Json names = Json::array();
  Json logprobs = Json::array();
  Json tops = Json::array();
  Json offsets = Json::array();
  for (const comm::DeltaToken& token : tokens) {
    names.push_back(printable(token.chosen.token));
    logprobs.push_back(finite(token.chosen.logprob));
    Json top = Json::object();
    for (const comm::TokenDetail& candidate : token.top) {
      top[printable(candidate.token)] = finite(candidate.logprob);
    }
    top[printable(token.chosen.token)] = finite(token.chosen.logprob);
    tops.push_back(std::move(top));
    offsets.push_back(text_offset);
    text_offset += count_code_points(token.chosen.token);
  }
  return {{"tokens", std::move(names)},
          {"token_logprobs", std::move(logprobs)},
          {"top_logprobs", std::move(tops)},
          {"text_offset", std::move(offsets)}};
}

}  // namespace lockstep::gateway
