#include "kernels/cuda/graph.h"

#include "kernels/cuda/status.h"

namespace lockstep::kernels::cuda {
namespace {

struct DestroyGraph {
  void operator()(cudaGraph_t graph) const { cudaGraphDestroy(graph); }
};
using Recorded = std::unique_ptr<CUgraph_st, DestroyGraph>;

}  // namespace

// Thread-local: NCCL's and cuBLAS's own threads may allocate meanwhile.
Graph::Capture::Capture(const Stream& stream) : stream_(stream) {
  check(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal),
        "cudaStreamBeginCapture", stream.device());
  open_ = true;
}

Graph::Capture::~Capture() {
  if (!open_) return;
  cudaGraph_t graph = nullptr;
  if (cudaStreamEndCapture(stream_.get(), &graph) == cudaSuccess) cudaGraphDestroy(graph);
  cudaGetLastError();  // the capture was given up because of another error, which is on its way
}

Graph Graph::Capture::finish() {
  const Device& device = stream_.device();
  open_ = false;
  cudaGraph_t graph = nullptr;
  const cudaError_t status = cudaStreamEndCapture(stream_.get(), &graph);
  const Recorded recorded(graph);
  check(status, "cudaStreamEndCapture", device);
  std::size_t nodes = 0;
  check(cudaGraphGetNodes(graph, nullptr, &nodes), "cudaGraphGetNodes", device);
  cudaGraphExec_t executable = nullptr;
  check(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate", device);
  return {device, executable, nodes};
}

void Graph::launch(const Stream& stream) const {
  check(cudaGraphLaunch(handle_.get(), stream.get()), "cudaGraphLaunch", *device_);
}

}  // namespace lockstep::kernels::cuda
