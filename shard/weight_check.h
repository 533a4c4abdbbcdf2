// What is looked for in weights before they are packed.
#pragma once

#include <string>

#include "kernels/thread_pool.h"
#include "model/tensor_source.h"
#include "shard/partition.h"

namespace lockstep::shard {

// Throws Error naming `path`, the tensor and the row where a number of e4m3 in these rows and
// columns is not a number: kernels take its bits for 480. Other types are not read.
void refuse_nan(const std::string& path, const model::Tensor& tensor, Range rows, Range columns,
                kernels::ThreadPool& pool);

}  // namespace lockstep::shard
