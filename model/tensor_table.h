// The one TensorSource: tensors by name, together with the mapped files that hold them.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "model/mapped_file.h"
#include "model/tensor_source.h"

namespace lockstep::model {

class TensorTable final : public TensorSource {
 public:
  // Takes over `files`, into which the tensors' data point. Throws Error when two tensors share a
  // name.
  TensorTable(std::string path, std::vector<MappedFile> files, std::vector<Tensor> tensors);

  const Tensor* find(std::string_view name) const override;
  void release(const Tensor& tensor) const override;
  const std::string& path() const override { return path_; }
  const std::map<std::string, Tensor, std::less<>>& tensors() const { return tensors_; }

 private:
  std::string path_;
  std::vector<MappedFile> files_;
  std::map<std::string, Tensor, std::less<>> tensors_;
};

}  // namespace lockstep::model
