#include "kernels/device/memory_pool.h"

#include <algorithm>
#include <cstdio>
#include <vector>

#include "base/error.h"

namespace lockstep::kernels::device {
namespace {

std::string mebibytes(std::size_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MiB", static_cast<double>(bytes) / (1 << 20));
  return text;
}

std::string out_of_memory(Allocator& allocator, const MemoryLedger& ledger,
                          const std::string& label, std::size_t bytes) {
  const Allocator::Room room = allocator.room();
  std::string text =
      std::string(allocator.name()) + ": no room for " + mebibytes(bytes) + " of '" + label + "'";
  if (room.total > 0) {
    text += ": " + mebibytes(room.free) + " of " + mebibytes(room.total) + " are free";
    const std::size_t taken = room.total - room.free;
    if (taken > ledger.used()) {
      text += ", " + mebibytes(taken - ledger.used()) + " are other processes' or the driver's own";
    }
  }
  text += "; this rank uses " + mebibytes(ledger.used());
  return ledger.used() == 0 ? text : text + ":\n" + ledger.table();
}

}  // namespace

void MemoryLedger::add(const std::string& label, std::size_t bytes) {
  Line& line = lines_[label];
  line.bytes += bytes;
  ++line.pieces;
  used_ += bytes;
  peak_ = std::max(peak_, used_);
}

void MemoryLedger::remove(const std::string& label, std::size_t bytes) {
  const auto found = lines_.find(label);
  found->second.bytes -= bytes;
  used_ -= bytes;
  if (--found->second.pieces == 0) lines_.erase(found);
}

std::size_t MemoryLedger::used(const std::string& label) const {
  const auto found = lines_.find(label);
  return found == lines_.end() ? 0 : found->second.bytes;
}

std::string MemoryLedger::table() const {
  std::vector<std::pair<std::string, Line>> lines(lines_.begin(), lines_.end());
  std::ranges::stable_sort(lines, std::ranges::greater{},
                           [](const auto& line) { return line.second.bytes; });
  std::string text;
  for (const auto& [label, line] : lines) {
    char numbers[80];
    std::snprintf(numbers, sizeof numbers, "%14s in %4zu piece%s  ", mebibytes(line.bytes).c_str(),
                  line.pieces, line.pieces == 1 ? " " : "s");
    text += (text.empty() ? "" : "\n") + std::string(numbers) + label;
  }
  return text;
}

Allocation::Allocation(MemoryPool& pool, Allocator& from, std::string label, void* data,
                       std::size_t bytes)
    : pool_(&pool), from_(&from), label_(std::move(label)), data_(data), bytes_(bytes) {}

Allocation::Allocation(Allocation&& other) noexcept { *this = std::move(other); }

Allocation& Allocation::operator=(Allocation&& other) noexcept {
  std::swap(pool_, other.pool_);
  std::swap(from_, other.from_);
  std::swap(label_, other.label_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Allocation::~Allocation() {
  if (data_ == nullptr) return;
  from_->release(data_);
  pool_->ledger_.remove(label_, bytes_);
}

MemoryPool::MemoryPool(std::unique_ptr<Allocator> allocator) : allocator_(std::move(allocator)) {}

Allocation MemoryPool::allocate(const std::string& label, std::size_t bytes) {
  return allocate_from(*allocator_, label, bytes);
}

Allocation MemoryPool::allocate_from(Allocator& allocator, const std::string& label,
                                     std::size_t bytes) {
  if (bytes == 0) return {};
  void* const data = allocator.allocate(bytes);
  if (data == nullptr) throw Error(out_of_memory(allocator, ledger_, label, bytes));
  allocator.name_memory(data, label);
  ledger_.add(label, bytes);
  return {*this, allocator, label, data, bytes};
}

}  // namespace lockstep::kernels::device
