// Splits text into the pieces that byte-pair encoding never merges across.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

struct pcre2_real_code_8;

namespace lockstep::model {

// Thread-safe: split() changes nothing in the object.
class PreTokenizer {
 public:
  // `name` is a key of the table in pre_tokenizer.cc: "smollm", "gpt2", "llama3", "qwen2",
  // "tekken". Throws Error that names `path` and the known keys when it is none of them.
  PreTokenizer(std::string_view name, const std::string& path);

  // Appends to `pieces` consecutive parts of `text` that together are all of it. Takes time linear
  // in the size of the text. REQUIRES: is_valid_utf8(text).
  void split(std::string_view text, std::vector<std::string_view>& pieces) const;

 private:
  struct FreeCode {
    void operator()(pcre2_real_code_8* code) const;
  };

  std::string name_;
  std::unique_ptr<pcre2_real_code_8, FreeCode> code_;
};

}  // namespace lockstep::model
