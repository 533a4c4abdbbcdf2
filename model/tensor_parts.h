// The tensors of a folder by name, taken out one by one to be put together.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/tensor_source.h"

namespace lockstep::model {

using TensorShape = std::vector<std::int64_t>;

// (That no name is there twice is checked when the rest becomes a TensorTable.)
class TensorParts {
 public:
  // `file`, whose name stands in errors, must outlive this.
  TensorParts(std::vector<Tensor> tensors, const std::string& file);

  // The tensors for which keep(tensor) is true, by name.
  template <class Keep>
  std::vector<std::string> names(const Keep& keep) const {
    std::vector<std::string> found;
    for (const auto& [name, tensor] : tensors_) {
      if (keep(tensor)) found.push_back(name);
    }
    return found;
  }
  bool has(const std::string& name) const { return tensors_.contains(name); }

  std::optional<Tensor> take(const std::string& name);
  // The tensor of that name; throws Error unless it is there with this type.
  Tensor take(const std::string& name, kernels::DType type);
  // ... and this shape, which follows from what `source` says: "qweight and quantization_config".
  Tensor take(const std::string& name, kernels::DType type, const TensorShape& shape,
              std::string_view source);

  // Takes "<module>.g_idx" or ".weight_g_idx", where it is there or has to be: column k must belong
  // to group k / group_size, for activation order would gather columns from anywhere.
  void take_order(const std::string& name, bool required, std::int64_t columns,
                  std::int64_t group_size, std::string_view source);

  std::vector<Tensor> rest() &&;

  // Throws Error "<file>: tensor '<name>': <message>".
  [[noreturn]] void fail_at(const std::string& name, const std::string& message) const;

 private:
  const std::string& file_;
  std::multimap<std::string, Tensor> tensors_;
};

// Whether all bytes of `tensor` are zero.
bool is_zero(const Tensor& tensor);

}  // namespace lockstep::model
