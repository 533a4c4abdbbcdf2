// What rank 0 needs of a model to turn text into tokens and back.
#pragma once

#include <memory>
#include <optional>

#include "model/chat_template.h"
#include "model/model.h"
#include "model/tokenizer.h"

namespace lockstep::launch {

class ModelText {
 public:
  // Throws Error naming the model's path and what is wrong in its tokenizer or chat template.
  explicit ModelText(const model::Model& model)
      : tokenizer_(model::make_tokenizer(model.tokenizer, model.path)),
        chat_template_(model::make_chat_template(*tokenizer_, model.path)) {}

  const model::Tokenizer& tokenizer() const { return *tokenizer_; }
  // nullptr: the model has none.
  const model::ChatTemplate* chat_template() const {
    return chat_template_ ? &*chat_template_ : nullptr;
  }

 private:
  std::unique_ptr<model::Tokenizer> tokenizer_;
  std::optional<model::ChatTemplate> chat_template_;
};

}  // namespace lockstep::launch
