#include "model/tensor_table.h"

#include <sys/mman.h>

#include <cstdint>
#include <utility>

#include "model/fail.h"

namespace lockstep::model {
namespace {

// Whole pages only: others hold something of their neighbours as well.
void release_pages(std::span<const std::byte> bytes) {
  constexpr std::uintptr_t kPage = 4096;
  const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data());
  const auto first = (begin + kPage - 1) / kPage * kPage;
  const auto last = (begin + bytes.size()) / kPage * kPage;
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

}  // namespace

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

void TensorTable::release(const Tensor& tensor) const {
  for (const auto part : {tensor.data, tensor.scales, tensor.zeros}) release_pages(part);
}

}  // namespace lockstep::model
