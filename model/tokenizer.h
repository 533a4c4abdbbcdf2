// Text to token ids and back: byte-level BPE, and the BPE of SentencePiece that falls back to
// bytes, with the same ids as Hugging Face's tokenizers.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep::model {

// Which parts of a text get a space in front of them. Added and control tokens that are not of
// TokenizerSpec::normalized_tokens cut a text into parts.
enum class SpacePrefix : std::uint8_t {
  kNone,
  kFirstPart,          // one that the text begins with and that has no space there (Metaspace)
  kPartsWithoutSpace,  // every one that does not begin with a space (Metaspace)
  kEveryPart,          // before normalized tokens are looked for (Prepend, llama.cpp)
};

// What a model file says of its tokenizer, before anything is built from it.
struct TokenizerSpec {
  std::string pre_tokenizer;        // key of the table in pre_tokenizer.cc: "smollm", "gpt2", ...
                                    // empty with byte_fallback: text is not split
  bool nfc = false;                 // text between added tokens is put into NFC first (Qwen)
  std::vector<std::string> tokens;  // id -> token in GPT-2's byte-to-unicode alphabet; added
                                    // tokens are plain UTF-8; empty: an id without a token
  bool byte_fallback = false;       // Llama 2: tokens are UTF-8 with U+2581 for a space; what is
                                    // none is written in "<0x00>" to "<0xFF>"
  SpacePrefix space_prefix = SpacePrefix::kNone;  // with byte_fallback
  bool strips_first_space = false;  // what tokens are decoded to loses a space at its beginning
  std::vector<std::string> merges;  // "left right", best first
  std::vector<float> scores;  // [tokens] in place of merges, with byte_fallback: two tokens become
                              // one that is written as they are, the best score first
  std::vector<std::int32_t> special_tokens;     // ids of control tokens: <|im_start|>, ...
  std::vector<std::int32_t> added_tokens;       // ids of non-special added tokens (always parsed)
  std::vector<std::int32_t> normalized_tokens;  // those of both lists that are looked for in what
                                                // is between the others, after NFC or prefixes
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
  // Without `parse_special` the text of a control token is plain text, and no text gives a control
  // token. A byte that a byte-level vocabulary has no token for is left out, as Hugging Face does;
  // make_tokenizer allows that only of control characters and of the lead bytes of code points
  // above U+3FFFF. Throws Error when `text` is over 1 GiB.
  virtual std::vector<std::int32_t> encode(std::string_view text, EncodeOptions options) const = 0;

  // The bytes that token `id` stands for; they need not be whole UTF-8 characters. Control and
  // added tokens give their own text, as does a token with a character outside the byte alphabet.
  // With byte_fallback U+2581 is a space, though a text of tokens may lose its first.
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
// (with byte_fallback: any) without a token, a merge of something that is not a token, more scores
// than tokens, add_bos_token without bos_token_id.
std::unique_ptr<Tokenizer> make_tokenizer(TokenizerSpec spec, const std::string& path);

// Turns a stream of tokens into text without ever emitting half a UTF-8 character. Bytes that can
// never become valid UTF-8 come out as U+FFFD: all that push() and finish() return is, put
// together, bytes.decode("utf-8", errors="replace") in Python of the bytes of all tokens; without
// the first space where the tokens begin a text and TokenizerSpec::strips_first_space.
class StreamingDecoder {
 public:
  // `begins_text`: false where what is decoded goes on from another text, and a space between the
  // two counts.
  StreamingDecoder(const Tokenizer& tokenizer, bool skip_special_tokens, bool begins_text = true)
      : tokenizer_(&tokenizer),
        skip_special_tokens_(skip_special_tokens),
        strips_space_(begins_text && tokenizer.spec().strips_first_space) {}
  // The text that became complete with `id`; empty while a character is still in pieces.
  // REQUIRES: 0 <= id < vocab_size().
  std::string push(std::int32_t id);
  // What is left at the end of the answer; afterwards the decoder is as new.
  std::string finish();

 private:
  // `text` without the space that the whole must not begin with.
  std::string strip(std::string text);

  const Tokenizer* tokenizer_;
  bool skip_special_tokens_;
  bool strips_space_;
  bool has_text_ = false;  // some of it was returned
  std::string pending_;
};

}  // namespace lockstep::model
