#include "kernels/cuda/stream_gpu.h"

#include <string>
#include <utility>

#include "base/error.h"
#include "kernels/cuda/cublas_products.h"
#include "kernels/cuda/device_buffer.h"
#include "kernels/cuda/event.h"
#include "kernels/cuda/graph.h"
#include "kernels/cuda/status.h"

namespace lockstep::kernels::cuda {
namespace {

class RecordedGraph final : public Recording {
 public:
  RecordedGraph(const Stream& stream, Graph graph) : stream_(stream), graph_(std::move(graph)) {}
  void launch() override { graph_.launch(stream_); }
  std::size_t nodes() const override { return graph_.nodes(); }

 private:
  const Stream& stream_;
  const Graph graph_;
};

class EventMark final : public Mark {
 public:
  explicit EventMark(const Stream& stream) : stream_(stream), event_(stream.device()) {}
  void set() override { event_.record(stream_); }
  bool reached() override { return event_.reached(); }
  void wait(const char* what) override {
    const std::string call = std::string("cudaEventSynchronize, '") + what + "'";
    check(cudaEventSynchronize(event_.get()), call.c_str(), stream_.device());
  }

 private:
  const Stream& stream_;
  Event event_;
};

}  // namespace

StreamGpu::StreamGpu(const Device& device) : memory_(device), pinned_(device), stream_(device) {}

void StreamGpu::upload(void* to, std::span<const std::byte> from, const char* what) {
  copy_to_device(to, from, stream_, what);
}

void StreamGpu::download(std::span<std::byte> to, const void* from, const char* what) {
  copy_to_host(to, from, stream_, what);
}

void StreamGpu::copy(void* to, const void* from, std::size_t bytes, const char* what) {
  copy_on_device(to, from, bytes, stream_, what);
}

void StreamGpu::clear(void* memory, std::size_t bytes, const char* what) {
  cuda::clear(memory, bytes, stream_, what);
}

void StreamGpu::named(const std::function<void()>& launch) const {
  try {
    launch();
  } catch (const Error& error) {
    throw Error(device().name() + ": " + error.what());
  }
}

void StreamGpu::run(const EmbeddingArgs& args) { launch(launch_embedding, args); }
void StreamGpu::run(const RmsNormArgs& args) { launch(launch_rms_norm, args); }
void StreamGpu::run(const PeerNormArgs& args) { launch(launch_peer_norm, args); }
void StreamGpu::run(const ProductArgs& args) { launch<ProductArgs>(launch_product, args); }
void StreamGpu::run(const RopeKvArgs& args) { launch(launch_rope_kv, args); }
void StreamGpu::run(const AttentionArgs& args) { launch(launch_attention, args); }
void StreamGpu::run(const FlashInferArgs& args, const FlashInferLayout& layout,
                    const FlashInferWave& wave, const FlashInferGrid& grid) {
  named([&] { launch_flashinfer(args, layout, wave, grid, stream_.get()); });
}
void StreamGpu::run(const Fa3Args& args, const Fa3Layout& layout) {
  named([&] { launch_fa3(args, layout, stream_.get()); });
}
bool StreamGpu::has_fa3() const { return fa3_built_in() && runs_sm_90a(); }
bool StreamGpu::has_warpgroups() const { return warpgroups_built_in() && runs_sm_90a(); }
// Compute capability 9.0 alone has what sm_90a is built of.
bool StreamGpu::runs_sm_90a() const {
  const auto& description = device().description();
  return description.compute_major == 9 && description.compute_minor == 0;
}
void StreamGpu::run(const SwigluArgs& args) { launch(launch_swiglu, args); }
void StreamGpu::run(const SegmentSumArgs& args) { launch(launch_segment_sum, args); }
void StreamGpu::modify_logits(const TokenChoiceArgs& args) { launch(launch_modify_logits, args); }
void StreamGpu::choose_tokens(const TokenChoiceArgs& args) { launch(launch_token_choice, args); }
void StreamGpu::run(const RankWinnersArgs& args) { launch(launch_rank_winners, args); }
void StreamGpu::run(const CopyRowsArgs& args) { launch(launch_copy_rows, args); }
void StreamGpu::run(const TruncationArgs& args) { launch(launch_truncation, args); }
void StreamGpu::run(const TopLogprobsArgs& args) { launch(launch_top_logprobs, args); }

std::unique_ptr<PlainProducts> StreamGpu::plain_products(const std::string& algorithms) {
  return std::make_unique<CublasProducts>(memory_, stream_, algorithms);
}

std::unique_ptr<Recording> StreamGpu::record(const std::function<void()>& body) {
  return std::make_unique<RecordedGraph>(stream_, Graph::capture(stream_, body));
}

std::unique_ptr<Mark> StreamGpu::make_mark() { return std::make_unique<EventMark>(stream_); }

void StreamGpu::synchronize(const char* what) {
  const std::string call = std::string("cudaStreamSynchronize, '") + what + "'";
  check(cudaStreamSynchronize(stream_.get()), call.c_str(), device());
}

}  // namespace lockstep::kernels::cuda
