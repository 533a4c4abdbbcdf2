// What a rank asks of its GPU: memory, copies and kernels, all in one order. Plain C++, with two
// bodies: a stream of a device (stream_gpu.h), and in tests the executor, which runs the same
// kernels block by block on the CPU (tests/kernels/cuda/executed_gpu.h).
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/copy_rows.h"
#include "kernels/cuda/embedding.h"
#include "kernels/cuda/fa3_attention.h"
#include "kernels/cuda/flashinfer_attention.h"
#include "kernels/cuda/peer_norm.h"
#include "kernels/cuda/plain_products.h"
#include "kernels/cuda/product.h"
#include "kernels/cuda/rms_norm.h"
#include "kernels/cuda/rope_kv.h"
#include "kernels/cuda/segment_sum.h"
#include "kernels/cuda/swiglu.h"
#include "kernels/cuda/token_choice.h"
#include "kernels/cuda/top_logprobs.h"
#include "kernels/cuda/truncation.h"
#include "kernels/device/memory_pool.h"

namespace lockstep::kernels::cuda {

// Work recorded once and put in line as one item (a CUDA graph). Reads and writes the addresses,
// and has the arguments, that it was recorded with.
class Recording {
 public:
  virtual ~Recording() = default;
  virtual void launch() = 0;
  virtual std::size_t nodes() const = 0;  // operations in it
};

// A point in the line of a Gpu's work.
class Mark {
 public:
  virtual ~Mark() = default;
  // Puts it behind what is in line now.
  virtual void set() = 0;
  // Whether all work before it is done; does not wait. One that was never set is reached.
  virtual bool reached() = 0;
  // Waits until it is reached. `what` names the work in errors.
  virtual void wait(const char* what) = 0;
};

// One thread at a time. Calls put work in line and return; what goes wrong on the device shows in
// synchronize(), in a Mark or in any later call, as an Error that names rank and device.
class Gpu {
 public:
  virtual ~Gpu() = default;

  virtual device::MemoryPool& memory() = 0;         // of the device
  virtual device::MemoryPool& pinned_memory() = 0;  // of the host, for copies
  // Of the host, for words that kernels write and the host reads meanwhile.
  virtual device::MemoryPool& mapped_memory() = 0;

  // Copies; the host's side is pinned, and stays untouched until the copy is done. `what` names the
  // data in errors.
  virtual void upload(void* to, std::span<const std::byte> from, const char* what) = 0;
  virtual void download(std::span<std::byte> to, const void* from, const char* what) = 0;
  virtual void copy(void* to, const void* from, std::size_t bytes, const char* what) = 0;
  virtual void clear(void* memory, std::size_t bytes, const char* what) = 0;

  // Kernels: each header says what is computed.
  virtual void run(const EmbeddingArgs& args) = 0;
  virtual void run(const RmsNormArgs& args) = 0;
  virtual void run(const PeerNormArgs& args) = 0;
  virtual void run(const ProductArgs& args) = 0;
  virtual void run(const RopeKvArgs& args) = 0;
  virtual void run(const AttentionArgs& args) = 0;
  // launch_flashinfer(), and whether there is one.
  virtual void run(const FlashInferArgs& args, const FlashInferLayout& layout,
                   const FlashInferWave& wave, const FlashInferGrid& grid) = 0;
  virtual bool has_flashinfer() const = 0;
  // launch_fa3(), and whether there is one, on this GPU.
  virtual void run(const Fa3Args& args, const Fa3Layout& layout) = 0;
  virtual bool has_fa3() const = 0;
  // Whether products of many rows can go by warpgroups (ProductArgs::warpgroups).
  virtual bool has_warpgroups() const = 0;
  virtual void run(const SwigluArgs& args) = 0;
  virtual void run(const SegmentSumArgs& args) = 0;
  virtual void modify_logits(const TokenChoiceArgs& args) = 0;
  virtual void choose_tokens(const TokenChoiceArgs& args) = 0;
  virtual void run(const RankWinnersArgs& args) = 0;
  virtual void run(const CopyRowsArgs& args) = 0;
  virtual void run(const TruncationArgs& args) = 0;
  virtual void run(const TopLogprobsArgs& args) = 0;

  // Products of weights in plain rows. `algorithms`: a file of what was measured before, which may
  // not be there yet; empty: none. The GPU must outlive them, and they their products.
  virtual std::unique_ptr<PlainProducts> plain_products(const std::string& algorithms) = 0;

  // Records what `body` puts in line; none of it runs. Inside, nothing may synchronize or allocate.
  // Throws Error, or what `body` throws.
  virtual std::unique_ptr<Recording> record(const std::function<void()>& body) = 0;

  // The GPU must outlive it.
  virtual std::unique_ptr<Mark> make_mark() = 0;

  // Waits until everything in line is done. `what` names the work in errors.
  virtual void synchronize(const char* what) = 0;
};

}  // namespace lockstep::kernels::cuda
