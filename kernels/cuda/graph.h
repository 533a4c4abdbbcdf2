// CUDA graphs: work recorded once and launched as one.
#pragma once

#include <cuda_runtime_api.h>

#include <concepts>
#include <memory>

#include "kernels/cuda/stream.h"

namespace lockstep::kernels::cuda {

// Recorded work, ready to launch. It reads and writes the addresses that it was recorded with:
// buffers must stay where they are as long as it lives. Movable; the device must outlive it.
class Graph {
 public:
  // Records what `body` puts on `stream` (and on streams that wait for it and are waited for); none
  // of it runs. Inside, no call may synchronize or allocate. Throws Error, or what `body` throws.
  template <std::invocable Body>
  static Graph capture(const Stream& stream, Body&& body) {
    Capture capture(stream);
    body();
    return capture.finish();
  }

  // Puts all of it on the stream, as one item.
  void launch(const Stream& stream) const;

  std::size_t nodes() const { return nodes_; }  // operations in it

 private:
  // A recording that is under way; given up when it goes without finish().
  class Capture {
   public:
    explicit Capture(const Stream& stream);
    ~Capture();
    Capture(const Capture&) = delete;
    Capture& operator=(const Capture&) = delete;
    Graph finish();

   private:
    const Stream& stream_;
    bool open_ = false;
  };
  struct Destroy {
    void operator()(cudaGraphExec_t graph) const { cudaGraphExecDestroy(graph); }
  };

  Graph(const Device& device, cudaGraphExec_t graph, std::size_t nodes)
      : device_(&device), handle_(graph), nodes_(nodes) {}

  const Device* device_;
  std::unique_ptr<CUgraphExec_st, Destroy> handle_;
  std::size_t nodes_ = 0;
};

}  // namespace lockstep::kernels::cuda
