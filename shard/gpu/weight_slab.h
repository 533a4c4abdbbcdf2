// Rows of tensors in the files, packed for the products of a GPU.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cuda/weight_tiles.h"
#include "model/tensor_source.h"
#include "shard/partition.h"

namespace lockstep::shard {

// What a matrix is packed as: what the CPU keeps in four bits with a scale and a minimum is kept
// so, exactly as there; bytes with scales (kernels/byte_layout.h) are kept exactly as they are
// stored, those of u8 with no more than a scale a row; all else is rounded to bf16, or, where `fp8`
// is asked for, to e4m3 with a scale a row. Throws Error naming the tensor if it is none of
// weights, or in few bits that are not e4m3 where fp8 is asked for.
kernels::cuda::TileFormat tile_format(const model::Tensor& tensor, bool fp8);

// Part of a stored matrix.
struct StoredPart {
  const model::Tensor* tensor;
  Range rows, columns;
  std::int64_t head_dim;  // of projections whose rows are stored in pairs for another RoPE
};

// Rows [begin, end) of the parts, one below the other, with all the parts' columns, which are as
// many and of one format. What is rounded to e4m3_channel has as a row's scale its largest
// magnitude in the whole tensor over 448, so that the cut of columns has no say in it. Never throws
// for parts that tile_format() took. REQUIRES: of e4m3_block, that parts begin and end at multiples
// of 8 rows and 32 columns: eight rows of a tile lie in one block of scales then.
kernels::cuda::HostWeightTiles pack_rows(std::span<const StoredPart> parts,
                                         kernels::cuda::TileFormat format, std::int32_t begin,
                                         std::int32_t end);

// The same rows in bf16, one after the other.
std::vector<std::uint16_t> plain_rows(std::span<const StoredPart> parts, std::int32_t begin,
                                      std::int32_t end);

// The values of a norm or a bias. Throws Error naming the tensor unless it is f32, f16 or bf16.
std::vector<float> vector_values(const model::Tensor& tensor);

}  // namespace lockstep::shard
