// Reader of GGUF files, versions 2 and 3, little-endian.
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/gguf_metadata.h"
#include "model/mapped_file.h"
#include "model/tensor_source.h"

namespace lockstep::model {

// A GGUF file, mapped and checked: every string, array and tensor lies inside the file, tensors are
// aligned and do not overlap, and no key or tensor name is there twice.
struct GgufFile {
  MappedFile file;
  GgufMetadata metadata;        // views into `file`
  std::vector<Tensor> tensors;  // GGUF names, shapes outermost first, data in `file`
};

// Throws Error naming the file, the field and the limit; refuses tensor types that
// gguf_types.cc does not list as supported.
GgufFile read_gguf(const std::string& path);

}  // namespace lockstep::model
