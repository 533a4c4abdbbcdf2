// A GPU that is none: memory of the host, and kernels that run block by block on the CPU.
#pragma once

#include <deque>
#include <functional>
#include <vector>

#include "kernels/cuda/gpu.h"
#include "tests/kernels/cuda/block_executor.h"
#include "tests/kernels/cuda/device_memory.h"

namespace lockstep::kernels::cuda {

// When work in line is done.
enum class Doing {
  at_once,    // before the call returns that puts it in line
  when_asked  // as late as can be: when it, or what is behind it, is waited for
};

// Work is done one after the other; what is put in line inside record() is kept, arguments by
// value, and done at each launch(): a launch sees memory of that time, as a CUDA graph does. Every
// access of a kernel is checked (device_memory.h), and so are copies: their device side must lie in
// one allocation of memory(), their host side in one of pinned_memory(). New memory is filled with
// bytes 0xff. Runs::once for whole forward passes: faster, and blind to races.
class ExecutedGpu final : public Gpu {
 public:
  explicit ExecutedGpu(Runs runs = Runs::twice, Doing doing = Doing::at_once);

  // Puts `work` in line, or keeps it for the recording that is under way: for what else there is,
  // like a collective.
  void put(std::function<void()> work);
  // Does the first item that is in line. REQUIRES: there is one.
  void do_next() { do_until(done_ + 1); }
  // Kernels may not write to the array at `first` any more.
  void protect(const void* first) { arrays_.protect(first); }
  // A product whose work is cut in a certain way.
  void run(const ProductArgs& args, const ProductShape& shape);
  // Kernels may read and write memory of another executor.
  void map(void* first, std::size_t bytes, const std::string& name) {
    arrays_.map(first, bytes, name);
  }
  DeviceMemory& arrays() { return arrays_; }
  std::size_t launches() const { return launches_; }  // kernels that ran so far
  // Items put in line so far, a recording counted once.
  std::size_t items() const { return items_; }

  device::MemoryPool& memory() override { return memory_; }
  device::MemoryPool& pinned_memory() override { return pinned_; }
  device::MemoryPool& mapped_memory() override { return mapped_; }
  void upload(void* to, std::span<const std::byte> from, const char* what) override;
  void download(std::span<std::byte> to, const void* from, const char* what) override;
  void copy(void* to, const void* from, std::size_t bytes, const char* what) override;
  void clear(void* memory, std::size_t bytes, const char* what) override;

  void run(const EmbeddingArgs& args) override;
  void run(const RmsNormArgs& args) override;
  // Once, whatever was said: another rank may have gone on meanwhile. Ranks that map each other's
  // memory run everything once.
  void run(const PeerNormArgs& args) override;
  void run(const ProductArgs& args) override;
  void run(const RopeKvArgs& args) override;
  void run(const AttentionArgs& args) override;
  // By flashinfer_reference.h and the own combination: with FlashInfer's meaning, not its bits.
  void run(const FlashInferArgs& args, const FlashInferLayout& layout, const FlashInferWave& wave,
           const FlashInferGrid& grid) override;
  bool has_flashinfer() const override { return true; }
  // In double precision: with FA3's meaning, not its bits.
  void run(const Fa3Args& args, const Fa3Layout& layout) override;
  bool has_fa3() const override { return true; }
  bool has_warpgroups() const override { return true; }
  void run(const SwigluArgs& args) override;
  void run(const SegmentSumArgs& args) override;
  void modify_logits(const TokenChoiceArgs& args) override;
  void choose_tokens(const TokenChoiceArgs& args) override;
  void run(const RankWinnersArgs& args) override;
  void run(const CopyRowsArgs& args) override;
  void run(const TruncationArgs& args) override;
  void run(const TopLogprobsArgs& args) override;

  // Sums from the first column to the last; rows past those asked for become not a number.
  std::unique_ptr<PlainProducts> plain_products(const std::string& algorithms) override;
  // Throws Error inside another recording; so do synchronize(), launch() and allocations.
  std::unique_ptr<Recording> record(const std::function<void()>& body) override;
  std::unique_ptr<Mark> make_mark() override;
  void synchronize(const char* what) override;

 private:
  class Memory;
  class Recorded;
  class Plain;
  class LineMark;
  using Work = std::vector<std::function<void()>>;

  // Puts kernel(thread, args) for every thread of `grid` in line.
  template <class Args, class Kernel>
  void put_kernel(const Grid& grid, const Args& args, Kernel kernel);
  void refuse_in_recording(const char* what) const;
  std::vector<float> cached_floats(const void* cache, CacheFormat format) const;

  void put_in_line(std::function<void()> work);
  // Does what is in line up to the item of this number.
  void do_until(std::size_t item);

  const Runs runs_;
  const Doing doing_;
  DeviceMemory arrays_;
  DeviceMemory host_arrays_;  // pinned memory: where the host's sides of copies lie
  device::MemoryPool memory_, pinned_, mapped_;
  Work* recording_ = nullptr;  // null: none is under way
  std::size_t launches_ = 0, items_ = 0;
  std::deque<std::function<void()>> line_;  // what is not done
  std::size_t done_ = 0;                    // items of the line
};

}  // namespace lockstep::kernels::cuda
