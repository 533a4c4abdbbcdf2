// Read-only access to a model's tensors, whatever file format holds them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/stored_matrix.h"

namespace lockstep::model {

// One tensor as it lies in a mapped file. The bytes stay valid as long as the source lives.
struct Tensor {
  std::string name;  // Hugging Face name, e.g. "model.layers.0.mlp.up_proj.weight"
  kernels::DType dtype;
  std::vector<std::int64_t> shape;  // row-major, outermost first: [out_features, in_features]
  std::span<const std::byte> data;  // exactly rows() * row_bytes() bytes
  // True where a Q or K projection stores each head's rows in GGUF's interleaved-RoPE order:
  // stored row 2*i (of a head) is Hugging Face's row i, stored row 2*i+1 its row i + head_dim/2.
  bool rope_interleaved = false;
  // Of gptq, awq and their like, kernels::SeparateScales: f16 [column groups, rows] and i32 [column
  // groups, rows / 8], in the same files as `data`. Of u4_zeros kernels::BlockScales::zeros.
  std::span<const std::byte> scales = {};
  std::span<const std::byte> zeros = {};
  std::int64_t group_size = 0;
  std::uint32_t zero_offset = 0;
  // Of i8, u8, u4, u4_zeros and e4m3, kernels::BlockScales: the type of `scales` and the block that
  // has one.
  kernels::DType scale_type = kernels::DType::f32;
  std::int64_t scale_rows = 0;
  std::int64_t scale_columns = 0;

  std::int64_t rows() const;     // product of all dimensions but the last
  std::int64_t columns() const;  // the last dimension
  std::size_t row_bytes()
      const;  // of one row; rows follow each other, but for gptq, awq and their like
  // The same for the kernels. REQUIRES: two dimensions.
  kernels::StoredMatrix matrix() const;
};

// A model's tensors under Hugging Face names. Thread-safe to read.
class TensorSource {
 public:
  virtual ~TensorSource() = default;
  // The tensor of that name, or nullptr.
  virtual const Tensor* find(std::string_view name) const = 0;
  // The tensor of that name; throws Error naming the file and the tensor when it is not there or
  // its shape is not `shape`.
  const Tensor& require(std::string_view name, std::span<const std::int64_t> shape) const;
  // The caller has copied what it needs of `tensor`: its pages may leave this process's memory.
  // They come back when read again.
  virtual void release(const Tensor& tensor) const = 0;
  // What to call this source in an error: its path.
  virtual const std::string& path() const = 0;
};

}  // namespace lockstep::model
