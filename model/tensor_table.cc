#include "model/tensor_table.h"

#include <utility>

#include "model/fail.h"

namespace lockstep::model {

TensorTable::TensorTable(std::string path, std::vector<MappedFile> files,
                         std::vector<Tensor> tensors)
    : path_(std::move(path)), files_(std::move(files)) {
  for (Tensor& tensor : tensors) {
    std::string name = tensor.name;
    const auto [at, added] = tensors_.try_emplace(std::move(name), std::move(tensor));
    if (!added) fail(path_, "tensor " + in_quotes(at->first) + " is there twice");
  }
}

const Tensor* TensorTable::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

}  // namespace lockstep::model
