// Text to token ids and back: byte-level BPE, with the same ids as Hugging Face's tokenizers.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep::model {

// What a model file says of its tokenizer, before anything is built from it.
struct TokenizerSpec {
  std::string pre_tokenizer;        // key of the table in pre_tokenizer.cc: "smollm", "gpt2", ...
  bool nfc = false;                 // text between added tokens is put into NFC first (Qwen)
  std::vector<std::string> tokens;  // id -> token in GPT-2's byte-to-unicode alphabet; added
                                    // tokens are plain UTF-8; empty: an id without a token
  std::vector<std::string> merges;  // "left right", best first
  std::vector<std::int32_t> special_tokens;     // ids of control tokens: <|im_start|>, ...
  std::vector<std::int32_t> added_tokens;       // ids of non-special added tokens (always parsed)
  std::vector<std::int32_t> normalized_tokens;  // those of both lists that are looked for in what
                                                // is between the others, after NFC
  std::optional<std::int32_t> bos_token_id;
  std::optional<std::int32_t> eos_token_id;
  std::optional<std::int32_t> unk_token_id;
  bool add_bos_token = false;
  bool ignore_merges = false;     // Llama 3: a pre-token that is itself a token is not merged
  std::string chat_template;      // Jinja source, empty when the model has none
  std::string tool_use_template;  // of requests with tools; empty: chat_template, too
};

// Thread-safe: nothing changes after make_tokenizer.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  struct EncodeOptions {
    // Put the beginning-of-sequence token where the model wants one.
    bool add_special_tokens = true;
    // Text such as "<|im_end|>" becomes the control token.
    bool parse_special = false;
  };
  // The tokens of any bytes at all. Bytes that are not UTF-8 are read as U+FFFD, as Python's
  // bytes.decode("utf-8", errors="replace") does. Added and control tokens are found first, those
  // of normalized_tokens after the others: the leftmost, the longest of those that begin there.
  // Without `parse_special` the text of a control
  // token is plain text, and no text gives a control token. A byte that the vocabulary has no token
  // for is left out, as Hugging Face does; make_tokenizer allows that only of control characters
  // and of the lead bytes of code points above U+3FFFF. Throws Error when `text` is over 1 GiB.
  virtual std::vector<std::int32_t> encode(std::string_view text, EncodeOptions options) const = 0;

  // The bytes that token `id` stands for; they need not be whole UTF-8 characters. Control and
  // added tokens give their own text, as does a token with a character outside the byte alphabet.
  // The view lives as long as the tokenizer. REQUIRES: 0 <= id < vocab_size().
  virtual std::string_view token_bytes(std::int32_t id) const = 0;
  // Whether `id` is a control token. REQUIRES: 0 <= id < vocab_size().
  virtual bool is_special(std::int32_t id) const = 0;
  // The id of the token written `token_text` in TokenizerSpec::tokens.
  virtual std::optional<std::int32_t> find(std::string_view token_text) const = 0;
  // The number of ids, those without a token included.
  virtual std::int64_t vocab_size() const = 0;
  // What the tokenizer was built from.
  virtual const TokenizerSpec& spec() const = 0;
};

// Builds the tokenizer; throws Error that names what is wrong in `spec` and the `path` it came
// from: an unknown pre-tokenizer, two equal tokens, an id out of range, a byte of ordinary text
// without a token, a merge of something that is not a token, add_bos_token without bos_token_id.
std::unique_ptr<Tokenizer> make_tokenizer(TokenizerSpec spec, const std::string& path);

// Turns a stream of tokens into text without ever emitting half a UTF-8 character. Bytes that can
// never become valid UTF-8 come out as U+FFFD: all that push() and finish() return is, put
// together, bytes.decode("utf-8", errors="replace") in Python of the bytes of all tokens.
class StreamingDecoder {
 public:
  StreamingDecoder(const Tokenizer& tokenizer, bool skip_special_tokens)
      : tokenizer_(&tokenizer), skip_special_tokens_(skip_special_tokens) {}
  // The text that became complete with `id`; empty while a character is still in pieces.
  // REQUIRES: 0 <= id < vocab_size().
  std::string push(std::int32_t id);
  // What is left at the end of the answer; afterwards the decoder is as new.
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_tokens_;
  std::string pending_;
};

}  // namespace lockstep::model
