#include "shard/weight_check.h"

#include <atomic>

#include "base/error.h"
#include "kernels/byte_layout.h"

namespace lockstep::shard {

void refuse_nan(const std::string& path, const model::Tensor& tensor, Range rows, Range columns,
                kernels::ThreadPool& pool) {
  if (tensor.dtype != kernels::DType::e4m3) return;
  const kernels::StoredMatrix stored = tensor.matrix();
  std::atomic<std::int64_t> found = -1;
  pool.for_ranges(rows.size(), [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
    for (std::int64_t row = rows.begin + begin; row < rows.begin + end; ++row) {
      if (kernels::has_nan(stored, row, columns.begin, columns.size())) found = row;
    }
  });
  if (found < 0) return;
  throw Error(path + ": tensor '" + tensor.name + "': row " + std::to_string(found) +
              " has a NaN (e4m3 0x7f or 0xff); weights must be numbers");
}

}  // namespace lockstep::shard
