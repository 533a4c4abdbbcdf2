#include "tests/kernels/cuda/executed_gpu.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "base/error.h"
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/copy_rows.cuh"
#include "kernels/cuda/embedding.cuh"
#include "kernels/cuda/flashinfer_combine.cuh"
#include "kernels/cuda/peer_norm.cuh"
#include "kernels/cuda/product_few.cuh"
#include "kernels/cuda/product_many.cuh"
#include "kernels/cuda/product_wide.cuh"
#include "kernels/cuda/rms_norm.cuh"
#include "kernels/cuda/rope_kv.cuh"
#include "kernels/cuda/segment_sum.cuh"
#include "kernels/cuda/swiglu.cuh"
#include "kernels/cuda/token_choice.cuh"
#include "kernels/cuda/top_logprobs.cuh"
#include "kernels/cuda/truncation.cuh"
#include "kernels/fp8.h"
#include "kernels/half.h"
#include "tests/kernels/cuda/fa3_reference.h"
#include "tests/kernels/cuda/flashinfer_reference.h"

namespace lockstep::kernels::cuda {
namespace {

std::vector<float> floats_of(const std::vector<std::uint16_t>& bf16) {
  std::vector<float> floats;
  for (const std::uint16_t bits : bf16) floats.push_back(bf16_to_float(bits));
  return floats;
}

}  // namespace

class ExecutedGpu::Memory final : public device::Allocator {
 public:
  Memory(const ExecutedGpu& gpu, DeviceMemory& arrays, const char* name)
      : gpu_(gpu), arrays_(arrays), name_(name) {}
  std::string_view name() const override { return name_; }
  void* allocate(std::size_t bytes) override {
    gpu_.refuse_in_recording("an allocation");
    return arrays_.add(bytes, "memory without a name");
  }
  void name_memory(void* memory, const std::string& label) override {
    arrays_.rename(memory, label);
  }
  void release(void* memory) noexcept override { arrays_.remove(memory); }
  Room room() override { return {}; }

 private:
  const ExecutedGpu& gpu_;
  DeviceMemory& arrays_;
  const char* name_;
};

class ExecutedGpu::Recorded final : public Recording {
 public:
  Recorded(ExecutedGpu& gpu, Work work) : gpu_(gpu), work_(std::move(work)) {}
  void launch() override {
    gpu_.refuse_in_recording("the launch of a recording");
    ++gpu_.items_;
    for (const auto& item : work_) gpu_.put_in_line(item);
  }
  std::size_t nodes() const override { return work_.size(); }

 private:
  ExecutedGpu& gpu_;
  const Work work_;
};

class ExecutedGpu::LineMark final : public Mark {
 public:
  explicit LineMark(ExecutedGpu& gpu) : gpu_(gpu) {}
  void set() override {
    gpu_.refuse_in_recording("a mark");
    item_ = gpu_.done_ + gpu_.line_.size();
  }
  bool reached() override { return gpu_.done_ >= item_; }
  void wait(const char* what) override {
    gpu_.refuse_in_recording((std::string("waiting for '") + what + "'").c_str());
    gpu_.do_until(item_);
  }

 private:
  ExecutedGpu& gpu_;
  std::size_t item_ = 0;
};

ExecutedGpu::ExecutedGpu(Runs runs, Doing doing)
    : runs_(runs),
      doing_(doing),
      memory_(std::make_unique<Memory>(*this, arrays_, "memory of the executor")),
      pinned_(std::make_unique<Memory>(*this, host_arrays_, "pinned memory of the executor")),
      mapped_(std::make_unique<Memory>(*this, arrays_, "mapped memory of the executor")) {}

void ExecutedGpu::put(std::function<void()> work) {
  if (recording_ != nullptr) {
    recording_->push_back(std::move(work));
    return;
  }
  ++items_;
  put_in_line(std::move(work));
}

void ExecutedGpu::put_in_line(std::function<void()> work) {
  line_.push_back(std::move(work));
  if (doing_ == Doing::at_once) do_until(done_ + line_.size());
}

void ExecutedGpu::do_until(std::size_t item) {
  while (done_ < item) {
    const auto work = std::move(line_.front());
    line_.pop_front();
    ++done_;
    work();
  }
}

void ExecutedGpu::refuse_in_recording(const char* what) const {
  if (recording_ != nullptr) throw Error(std::string(what) + " inside a recording");
}

void ExecutedGpu::upload(void* to, std::span<const std::byte> from, const char* what) {
  if (from.empty()) return;
  put([this, to, from, name = std::string(what)] {
    arrays_.check_copy(to, from.size(), name.c_str());
    host_arrays_.check_copy(from.data(), from.size(), name.c_str());
    std::memcpy(to, from.data(), from.size());
  });
}

void ExecutedGpu::download(std::span<std::byte> to, const void* from, const char* what) {
  if (to.empty()) return;
  put([this, to, from, name = std::string(what)] {
    arrays_.check_copy(from, to.size(), name.c_str());
    host_arrays_.check_copy(to.data(), to.size(), name.c_str());
    std::memcpy(to.data(), from, to.size());
  });
}

void ExecutedGpu::copy(void* to, const void* from, std::size_t bytes, const char* what) {
  if (bytes == 0) return;
  put([this, to, from, bytes, name = std::string(what)] {
    arrays_.check_copy(to, bytes, name.c_str());
    arrays_.check_copy(from, bytes, name.c_str());
    std::memmove(to, from, bytes);
  });
}

void ExecutedGpu::clear(void* memory, std::size_t bytes, const char* what) {
  if (bytes == 0) return;
  put([this, memory, bytes, name = std::string(what)] {
    arrays_.check_copy(memory, bytes, name.c_str());
    std::memset(memory, 0, bytes);
  });
}

template <class Args, class Kernel>
void ExecutedGpu::put_kernel(const Grid& grid, const Args& args, Kernel kernel) {
  if (grid.x == 0 || grid.y == 0) return;
  put([this, grid, args, kernel] {
    ++launches_;
    run_blocks(
        arrays_, grid, [&](FiberThread& t) { kernel(t, args); }, runs_);
  });
}

void ExecutedGpu::run(const EmbeddingArgs& args) {
  put_kernel(embedding_grid(args), args, [](auto& t, const auto& a) { embedding(t, a); });
}

void ExecutedGpu::run(const RmsNormArgs& args) {
  put_kernel(rms_norm_grid(args), args, [](auto& t, const auto& a) {
    t.begins_early();
    with_norm_packs(a, [&](auto packs) { rms_norm<packs>(t, a); });
  });
}

void ExecutedGpu::run(const PeerNormArgs& args) {
  put([this, args] {
    ++launches_;
    with_norm_packs(args.norm, [&](auto packs) {
      run_blocks(
          arrays_, peer_norm_grid(args), [&](FiberThread& t) { peer_norm<packs>(t, args); },
          Runs::once);
    });
  });
}

void ExecutedGpu::run(const ProductArgs& args) {
  if (args.m > 0) run(args, product_shape(args));
}

void ExecutedGpu::run(const ProductArgs& args, const ProductShape& shape) {
  with_tile(args.weights.format, [&]<class Tile>(Tile) {
    put_kernel(product_grid(args, shape), args, [shape](auto& t, const auto& a) {
      if (std::holds_alternative<ManyRows>(shape)) {
        return product_many<Tile>(t, a, std::get<ManyRows>(shape));
      }
      t.begins_early();
      if (const auto* few = std::get_if<FewRows>(&shape)) {
        return with_halves<Tile>(*few, [&](auto halves) { product_few<Tile, halves>(t, a, *few); });
      }
      const auto& wide = std::get<WideRows>(shape);
      with_wide_shape<Tile>(wide, [&](auto rows, auto warpgroups) {
        product_wide<Tile, rows, warpgroups>(t, a, wide);
      });
    });
  });
}

void ExecutedGpu::run(const RopeKvArgs& args) {
  put_kernel(rope_kv_grid(args), args, [](auto& t, const auto& a) {
    t.begins_early();
    rope_kv(t, a);
  });
}

void ExecutedGpu::run(const AttentionArgs& args) {
  put_kernel(attention_grid(args), args, [](auto& t, const auto& a) {
    if (a.cache.format == CacheFormat::bf16) return attention<CacheFormat::bf16>(t, a);
    return attention<CacheFormat::e4m3>(t, a);
  });
  if (args.parts == nullptr) return;
  put_kernel(combine_grid(args), args, [](auto& t, const auto& a) { combine_parts(t, a); });
}

void ExecutedGpu::run(const FlashInferArgs& args, const FlashInferLayout& layout,
                      const FlashInferWave& wave, const FlashInferGrid& grid) {
  put([this, args, layout, wave, grid] {
    ++launches_;
    const PagedCache& cache = args.cache;
    const auto blocks = static_cast<std::size_t>(*reinterpret_cast<const std::int32_t*>(
        args.plan + layout.short_tiles.first_block + layout.limits.short_items * std::int64_t{4}));
    const ReferenceModel model{.heads = cache.heads,
                               .group = args.query_heads / cache.heads,
                               .block_size = cache.block_size,
                               .head_dim = cache.head_dim,
                               .table = {args.blocks, args.blocks + blocks},
                               .keys = cached_floats(cache.keys, cache.format),
                               .values = cached_floats(cache.values, cache.format),
                               .queries = floats_of(arrays_.values(args.q)),
                               .scale = double{args.scale} * cache.key_scale};
    const std::vector<std::byte> plan(args.plan, args.plan + layout.bytes);
    // Blocks beyond the wave's items run as well, and find that they are not valid.
    FlashInferWave launched = wave;
    launched.short_items = grid.short_items;
    launched.long_items = grid.long_items;
    const ReferenceParts parts = FlashInferReference(model, layout, plan).run(launched);
    arrays_.check_copy(args.values, std::span(parts.values).size_bytes(), "FlashInfer's parts");
    arrays_.check_copy(args.weights, std::span(parts.weights).size_bytes(), "FlashInfer's weights");
    std::ranges::copy(parts.values, args.values);
    std::ranges::copy(parts.weights, args.weights);
  });
  const FlashInferCombineArgs combine = combination_of(args, layout, wave, grid);
  put_kernel(flashinfer_combine_grid(combine), combine, [](auto& t, const auto& a) {
    t.begins_early();
    combine_flashinfer_parts(t, a);
  });
}

void ExecutedGpu::run(const Fa3Args& args, const Fa3Layout& layout) {
  put([this, args, layout] {
    ++launches_;
    const std::size_t numbers = static_cast<std::size_t>(args.rows) *
                                static_cast<std::size_t>(args.query_heads * args.cache.head_dim);
    arrays_.check_copy(args.q, 2 * numbers, "FA3's queries");
    arrays_.check_copy(args.out, 2 * numbers, "FA3's results");
    arrays_.check_copy(args.plan, static_cast<std::size_t>(layout.bytes), "FA3's plan");
    attend_by_fa3(args, layout, cached_floats(args.cache.keys, args.cache.format),
                  cached_floats(args.cache.values, args.cache.format));
  });
}

std::vector<float> ExecutedGpu::cached_floats(const void* cache, CacheFormat format) const {
  if (format == CacheFormat::bf16) {
    return floats_of(arrays_.values(static_cast<const std::uint16_t*>(cache)));
  }
  std::vector<float> floats;
  for (const std::uint8_t byte : arrays_.values(static_cast<const std::uint8_t*>(cache))) {
    floats.push_back(e4m3_to_float(byte));
  }
  return floats;
}

void ExecutedGpu::run(const SwigluArgs& args) {
  put_kernel(swiglu_grid(args), args, [](auto& t, const auto& a) { swiglu(t, a); });
}

void ExecutedGpu::run(const SegmentSumArgs& args) {
  put_kernel(segment_sum_grid(args), args, [](auto& t, const auto& a) { segment_sum(t, a); });
}

void ExecutedGpu::modify_logits(const TokenChoiceArgs& args) {
  put_kernel(modify_logits_grid(args), args,
             [](auto& t, const auto& a) { cuda::modify_logits(t, a); });
}

void ExecutedGpu::choose_tokens(const TokenChoiceArgs& args) {
  put_kernel(choose_in_slices_grid(args), args,
             [](auto& t, const auto& a) { choose_in_slices(t, a); });
  put_kernel(choose_among_slices_grid(args), args,
             [](auto& t, const auto& a) { choose_among_slices(t, a); });
}

void ExecutedGpu::run(const RankWinnersArgs& args) {
  put_kernel(choose_among_ranks_grid(args), args,
             [](auto& t, const auto& a) { choose_among_ranks(t, a); });
}

void ExecutedGpu::run(const CopyRowsArgs& args) {
  put_kernel(copy_rows_grid(args), args, [](auto& t, const auto& a) { copy_rows(t, a); });
}

void ExecutedGpu::run(const TruncationArgs& args) {
  put_kernel(truncation_grid(args), args, [](auto& t, const auto& a) { truncate_rows(t, a); });
}

void ExecutedGpu::run(const TopLogprobsArgs& args) {
  put_kernel(best_of_slices_grid(args), args, [](auto& t, const auto& a) { best_of_slices(t, a); });
  put_kernel(weights_of_slices_grid(args), args,
             [](auto& t, const auto& a) { weights_of_slices(t, a); });
  put_kernel(logprobs_of_rows_grid(args), args,
             [](auto& t, const auto& a) { logprobs_of_rows(t, a); });
}

class ExecutedGpu::Plain final : public PlainProducts {
 public:
  explicit Plain(ExecutedGpu& gpu) : gpu_(gpu) {}
  std::unique_ptr<PlainProduct> make(std::int32_t n, std::int32_t k,
                                     std::int32_t max_rows) override {
    if (n % kPlainRows != 0 || k % 32 != 0) throw Error("plain rows of another shape");
    return std::make_unique<Product>(gpu_, n, k, max_rows);
  }
  void save() override {}

 private:
  class Product final : public PlainProduct {
   public:
    Product(ExecutedGpu& gpu, std::int64_t n, std::int64_t k, std::int32_t max_rows)
        : gpu_(gpu), n_(n), k_(k), max_rows_(max_rows) {}
    void run(const std::uint16_t* x, const std::uint16_t* w, float* out,
             std::int32_t rows) override {
      if (rows < 1 || rows > max_rows_) throw Error("a product of more rows than it was made for");
      gpu_.put([this, x, w, out, rows] { multiply(x, w, out, rows); });
    }

   private:
    void multiply(const std::uint16_t* x, const std::uint16_t* w, float* out,
                  std::int32_t rows) const {
      const std::int64_t all = whole_granules(rows);
      gpu_.arrays_.check_copy(x, static_cast<std::size_t>(all * k_ * 2), "a product's rows");
      gpu_.arrays_.check_copy(w, static_cast<std::size_t>(n_ * k_ * 2), "a product's weights");
      gpu_.arrays_.check_copy(out, static_cast<std::size_t>(all * n_ * 4), "a product's results");
      std::fill_n(out, all * n_, std::numeric_limits<float>::quiet_NaN());
      for (std::int64_t row = 0; row < rows; ++row) {
        for (std::int64_t i = 0; i < n_; ++i) {
          float sum = 0;
          for (std::int64_t j = 0; j < k_; ++j) {
            sum = std::fma(bf16_to_float(x[row * k_ + j]), bf16_to_float(w[i * k_ + j]), sum);
          }
          out[row * n_ + i] = sum;
        }
      }
    }
    ExecutedGpu& gpu_;
    const std::int64_t n_, k_;
    const std::int32_t max_rows_;
  };
  ExecutedGpu& gpu_;
};

std::unique_ptr<PlainProducts> ExecutedGpu::plain_products(const std::string&) {
  return std::make_unique<Plain>(*this);
}

std::unique_ptr<Recording> ExecutedGpu::record(const std::function<void()>& body) {
  refuse_in_recording("a recording");
  Work work;
  recording_ = &work;
  try {
    body();
  } catch (...) {
    recording_ = nullptr;
    throw;
  }
  recording_ = nullptr;
  return std::make_unique<Recorded>(*this, std::move(work));
}

std::unique_ptr<Mark> ExecutedGpu::make_mark() { return std::make_unique<LineMark>(*this); }

void ExecutedGpu::synchronize(const char* what) {
  refuse_in_recording((std::string("waiting for '") + what + "'").c_str());
  do_until(done_ + line_.size());
}

}  // namespace lockstep::kernels::cuda
