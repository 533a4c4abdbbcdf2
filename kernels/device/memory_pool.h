// The memory of one device: every allocation has a label, and when there is no room the error is a
// table of what took it. Plain C++: where memory comes from is given to it.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <utility>

namespace lockstep::kernels::device {

// Where memory comes from: cudaMalloc, cudaHostAlloc, ncclMemAlloc, or a test.
class Allocator {
 public:
  struct Room {
    std::size_t free = 0;   // bytes; of all processes that share the device
    std::size_t total = 0;  // 0: not known
  };

  virtual ~Allocator() = default;
  virtual std::string_view name() const = 0;  // of the memory, e.g. "CUDA device 0"
  // `bytes` > 0. Returns nullptr when there is no room. Throws Error on any other failure.
  virtual void* allocate(std::size_t bytes) = 0;
  // Told what `memory`, which it has just given, is for.
  virtual void name_memory(void* /*memory*/, const std::string& /*label*/) {}
  // Never throws: a failure here is of a process that ends anyway.
  virtual void release(void* memory) noexcept = 0;
  virtual Room room() = 0;
};

// What is in use, by label. Numbers only; it owns nothing.
class MemoryLedger {
 public:
  void add(const std::string& label, std::size_t bytes);
  // REQUIRES: an add() of the same label and bytes that was not removed yet.
  void remove(const std::string& label, std::size_t bytes);

  std::size_t used() const { return used_; }
  std::size_t peak() const { return peak_; }  // the most that was in use at once
  std::size_t used(const std::string& label) const;

  // One line a label, the largest first: "  4096.0 MiB in   64 pieces  weights".
  std::string table() const;

 private:
  struct Line {
    std::size_t bytes = 0;
    std::size_t pieces = 0;
  };
  std::map<std::string, Line> lines_;
  std::size_t used_ = 0;
  std::size_t peak_ = 0;
};

class MemoryPool;

// One piece of memory, given back when it goes. May be empty. Its pool must outlive it.
class Allocation {
 public:
  Allocation() = default;
  Allocation(Allocation&& other) noexcept;
  Allocation& operator=(Allocation&& other) noexcept;
  ~Allocation();

  void* data() const { return data_; }
  std::size_t size() const { return bytes_; }  // bytes
  const std::string& label() const { return label_; }

 private:
  friend class MemoryPool;
  Allocation(MemoryPool& pool, Allocator& from, std::string label, void* data, std::size_t bytes);

  MemoryPool* pool_ = nullptr;
  Allocator* from_ = nullptr;
  std::string label_;
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

// Hands out memory and keeps the books. It holds nothing back: what is freed goes to the allocator,
// because what a rank needs is allocated once, at start-up. One thread at a time.
class MemoryPool {
 public:
  explicit MemoryPool(std::unique_ptr<Allocator> allocator);
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;

  // `label` says what the memory is for, in the words of an operator: "weights", "KV cache". Pieces
  // may share one. No bytes: an empty allocation. Throws Error when there is no room: what was
  // wanted, what is free, and the table of what is in use.
  Allocation allocate(const std::string& label, std::size_t bytes);

  // The same, from another allocator of the same device's memory, which must outlive the result.
  Allocation allocate_from(Allocator& allocator, const std::string& label, std::size_t bytes);

  const MemoryLedger& ledger() const { return ledger_; }
  Allocator::Room room() { return allocator_->room(); }

 private:
  friend class Allocation;

  const std::unique_ptr<Allocator> allocator_;
  MemoryLedger ledger_;
};

}  // namespace lockstep::kernels::device
