// Packed weights in a file, so that a rank's next life need not pack them.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/arena.h"
#include "kernels/thread_pool.h"
#include "model/model.h"
#include "shard/packing.h"
#include "shard/partition.h"

namespace lockstep::shard {

// One more with every change to the bytes that load_weights() packs: to the layout of a matrix
// (kernels/packed_matrix.h), or to which matrices there are and in which order. A test holds the
// bytes of this version.
inline constexpr std::uint32_t kPackedWeightsVersion = 3;

// What a rank's packed weights depend on: the model's files (model/model_identity.h), the rank's
// part, the layouts of the formats, and kPackedWeightsVersion; not on the CPU family otherwise.
std::uint64_t weight_digest(const model::Model& model, const Partition& part,
                            const Packing& packing);

// One file of one folder: <digest, 16 hexadecimal digits>.packed. Little-endian:
//
//   offset  bytes
//        0  8      "LSPACKED"
//        8  4      version of this format, 1
//       12  4      zero
//       16  8      digest
//       24  8      bytes of the payload
//       32  8      checksum of the payload: Hash64 over the Hash64 of each block of at most 4 MiB
//     4096  ...    payload: the runs of the arena, one after the other; no block is of two runs
//
// Files of other digests are left alone: nothing needs them any more once a model has changed, and
// they may be deleted at any time.
class WeightCache {
 public:
  // `pool` must outlive it.
  WeightCache(const std::string& directory, std::uint64_t digest, kernels::ThreadPool& pool);

  // Fills `arena`, in which the matrices have been laid out, from the file, on all threads; reads
  // into the arena's huge pages instead of mapping the file, whose pages would be small. False when
  // there is no file, or, with a warning that names it and says why, when it is not to be used. The
  // arena then holds nothing of use.
  bool restore(kernels::Arena& arena) const;

  // Writes the file, replacing what was there at once: no reader ever sees a part of it. A rank can
  // serve without it, so that a full disk, say, is no more than a warning.
  void store(kernels::Arena& arena) const;

  const std::string& path() const { return path_; }

 private:
  const std::string path_;
  const std::uint64_t digest_;
  kernels::ThreadPool& pool_;
};

}  // namespace lockstep::shard
