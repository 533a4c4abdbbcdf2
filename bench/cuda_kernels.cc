// The time of own CUDA kernels at the shapes of an 8B Llama, as JSON on standard output.
//
//   bench_cuda_kernels [--quick]
//
// Each figure is that of a recording of several calls, launched until 0.2 s are over. A call's
// operands are others than those of the call before it, so that they come from the device's memory
// and not from its cache.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "kernels/cuda/event.h"
#include "kernels/cuda/stream_gpu.h"
#include "kernels/cuda/visible_devices.h"

namespace lockstep::kernels::cuda {
namespace {

constexpr std::int32_t kHidden = 4096, kInner = 14336, kVocabulary = 128256;
constexpr std::int32_t kQueryHeads = 32, kHeads = 8, kHeadDim = 128;
// More than the cache of any GPU (an H200's has 50 MiB).
constexpr std::size_t kBeyondCache = 256u << 20;

class Bench {
 public:
  Bench(const Device& device, double seconds) : gpu_(device), seconds_(seconds) {
    constexpr std::size_t kBytes = 1u << 30;
    const auto from = array(kBytes, "copied from"), to = array(kBytes, "copied to");
    const double micros = time(1, [&](int) { gpu_.copy(to.data(), from.data(), kBytes, "copy"); });
    copy_gb_per_s_ = 2e-3 * kBytes / micros;
  }

  // Memory of equal small numbers in most formats (0x3c in every byte).
  device::Allocation array(std::size_t bytes, const char* name) {
    device::Allocation memory = gpu_.memory().allocate(name, bytes);
    if (cudaMemset(memory.data(), 0x3c, bytes) != cudaSuccess) throw Error("cudaMemset failed");
    return memory;
  }
  template <class T>
  device::Allocation array_of(const std::vector<T>& values, const char* name) {
    device::Allocation memory = gpu_.memory().allocate(name, values.size() * sizeof(T));
    if (cudaMemcpy(memory.data(), values.data(), memory.size(), cudaMemcpyHostToDevice) !=
        cudaSuccess) {
      throw Error("cudaMemcpy failed");
    }
    return memory;
  }

  // Microseconds of a call, of which `calls` different ones take turns.
  double time(int calls, const std::function<void(int)>& call) {
    // Arrays are filled on another stream than calls use.
    if (cudaDeviceSynchronize() != cudaSuccess) throw Error("the arrays could not be filled");
    call(0);
    gpu_.synchronize("the first call");
    const int rounds = std::max(1, 16 / calls);
    const auto recording = gpu_.record([&] {
      for (int i = 0; i < rounds * calls; ++i) call(i % calls);
    });
    Event begin(gpu_.device(), Event::Timing::on), end(gpu_.device(), Event::Timing::on);
    recording->launch();
    int launches = 1;
    while (true) {
      begin.record(gpu_.stream());
      for (int i = 0; i < launches; ++i) recording->launch();
      end.record(gpu_.stream());
      end.synchronize();
      const double micros = time_between(begin, end, gpu_.device()).count();
      if (micros >= seconds_ * 1e6) return micros / launches / (rounds * calls);
      launches = static_cast<int>(
          std::min(1e4, std::max(2.0 * launches, 1.2e6 * seconds_ / micros * launches)));
    }
  }

  // A line of the result; `bytes`: what a call reads and writes at least.
  void add(nlohmann::json line, double micros, double bytes) {
    line["us"] = micros;
    line["gb_per_s"] = 1e-3 * bytes / micros;
    line["of_copy"] = 1e-3 * bytes / micros / copy_gb_per_s_;
    lines_.push_back(std::move(line));
  }

  StreamGpu& gpu() { return gpu_; }
  nlohmann::json result() const {
    return {
        {"device", gpu_.device().name()}, {"copy_gb_per_s", copy_gb_per_s_}, {"kernels", lines_}};
  }

 private:
  StreamGpu gpu_;
  const double seconds_;
  double copy_gb_per_s_ = 0;
  nlohmann::json lines_ = nlohmann::json::array();
};

template <class T>
T* at(const device::Allocation& memory, std::size_t offset = 0) {
  return reinterpret_cast<T*>(static_cast<std::byte*>(memory.data()) + offset);
}

// At most 1024: a recording of small calls is long enough.
int copies_of(std::size_t bytes) {
  return static_cast<int>(std::clamp<std::size_t>((kBeyondCache + bytes - 1) / bytes, 1, 1024));
}

const char* name_of(TileFormat format) {
  switch (format) {
    case TileFormat::bf16: return "bf16";
    case TileFormat::int8_channel: return "int8";
    case TileFormat::int8_group: return "int8_group";
    case TileFormat::int4_group: return "int4";
    case TileFormat::e4m3_block: return "e4m3_block";
    default: return "e4m3";
  }
}

void product(Bench& bench, TileFormat format, std::int32_t m, std::int32_t n, std::int32_t k) {
  const std::int32_t groups = k / 32;
  const auto tile_rows = divide_up(n, rows_of_tile(format));
  const auto bytes = static_cast<std::size_t>(tile_rows * groups * bytes_of_tile(format));
  const int copies = copies_of(bytes);
  const auto tiles = bench.array(bytes * static_cast<std::size_t>(copies), "tiles");
  const auto scales = bench.array(
      static_cast<std::size_t>(tile_rows * scales_of_tile_row(format, groups) + 1) * 4, "scales");
  const auto x = bench.array(static_cast<std::size_t>(m) * static_cast<std::size_t>(k) * 2, "x");
  const auto out =
      bench.array(static_cast<std::size_t>(m) * static_cast<std::size_t>(n) * 4, "out");
  const HostSumPlan plan = make_sum_plan(whole_sum(k));
  const auto leaves = bench.array_of(plan.leaves, "leaves");
  const auto additions = bench.array_of(plan.additions, "additions");
  const auto level_ends = bench.array_of(plan.level_ends, "level_ends");
  const auto segments = bench.array_of(plan.segments, "segments");
  const double micros = bench.time(copies, [&](int copy) {
    bench.gpu().run(ProductArgs{
        .weights = {.format = format,
                    .tiles = at<std::byte>(tiles, bytes * static_cast<std::size_t>(copy)),
                    .scales = at<float>(scales),
                    .rows = n,
                    .groups = groups},
        .x = at<std::uint16_t>(x),
        .x_stride = k,
        .m = m,
        .plan = {.leaves = at<Leaf>(leaves),
                 .additions = at<Addition>(additions),
                 .level_ends = at<std::int32_t>(level_ends),
                 .segments = at<std::int32_t>(segments),
                 .num_leaves = static_cast<std::int32_t>(plan.leaves.size()),
                 .num_levels = static_cast<std::int32_t>(plan.level_ends.size()),
                 .num_segments = static_cast<std::int32_t>(plan.segments.size()),
                 .depth = plan.depth},
        .out = at<float>(out),
        .row_stride = n,
        .segment_stride = std::int64_t{m} * n});
  });
  bench.add({{"kernel", "product"}, {"format", name_of(format)}, {"m", m}, {"n", n}, {"k", k}},
            micros, static_cast<double>(bytes) + 2.0 * m * k + 4.0 * m * n);
}

void rms_norm(Bench& bench, std::int32_t rows) {
  const auto size = static_cast<std::size_t>(rows) * kHidden;
  const int copies = copies_of(size * 6);
  const auto hidden = bench.array(size * 4 * static_cast<std::size_t>(copies), "hidden");
  const auto out = bench.array(size * 2 * static_cast<std::size_t>(copies), "out");
  const auto weight = bench.array(kHidden * 4, "weight");
  const double micros = bench.time(copies, [&](int copy) {
    const auto turn = static_cast<std::size_t>(copy) * size;
    bench.gpu().run(RmsNormArgs{.hidden = at<float>(hidden, turn * 4),
                                .update = {},
                                .weight = at<float>(weight),
                                .out = at<std::uint16_t>(out, turn * 2),
                                .row_indices = nullptr,
                                .rows = rows,
                                .columns = kHidden,
                                .eps = 1e-5f});
  });
  // Without an addition the kernel may leave the residual stream as it is: read once, norms
  // written.
  bench.add({{"kernel", "rms_norm"}, {"m", rows}, {"k", kHidden}}, micros,
            6.0 * static_cast<double>(size));
}

// One row a sequence, each with `length` positions.
void attention(Bench& bench, std::int32_t rows, std::int32_t length) {
  constexpr std::int32_t kBlockSize = 64;
  const std::int32_t blocks = (length + kBlockSize - 1) / kBlockSize;
  const auto bytes = static_cast<std::size_t>(rows) * static_cast<std::size_t>(blocks) *
                     kBlockSize * kHeads * kHeadDim * 2;
  const int copies = copies_of(2 * bytes);
  const auto keys = bench.array(bytes * static_cast<std::size_t>(copies), "keys");
  const auto values = bench.array(bytes * static_cast<std::size_t>(copies), "values");
  std::vector<std::int32_t> table;
  std::vector<RowPlace> places;
  for (std::int32_t i = 0; i < rows * blocks; ++i) table.push_back(i);
  for (std::int32_t i = 0; i < rows; ++i) places.push_back({i, length - 1});
  std::vector<std::int32_t> first_query;
  for (std::int32_t i = 0; i <= kHeads; ++i) first_query.push_back(i * kQueryHeads / kHeads);
  const auto runs = head_runs(first_query);
  const auto tables = bench.array_of(table, "block tables");
  const auto rows_at = bench.array_of(places, "places");
  const auto runs_at = bench.array_of(runs, "runs");
  const auto q = bench.array(static_cast<std::size_t>(rows) * kQueryHeads * kHeadDim * 2, "q");
  const auto out = bench.array(q.size(), "out");
  const std::int32_t chunks = chunks_up_to(length - 1);
  const auto parts = bench.array(sizeof(float) * static_cast<std::size_t>(attention_part_floats(
                                                     rows, chunks, kQueryHeads, kHeadDim)),
                                 "parts");
  const double micros = bench.time(copies, [&](int copy) {
    const auto turn = static_cast<std::size_t>(copy) * bytes;
    bench.gpu().run(AttentionArgs{.q = at<std::uint16_t>(q),
                                  .cache = {.keys = at<void*>(keys, turn),
                                            .values = at<void*>(values, turn),
                                            .format = CacheFormat::bf16,
                                            .heads = kHeads,
                                            .block_size = kBlockSize,
                                            .head_dim = kHeadDim},
                                  .tables = {at<std::int32_t>(tables), blocks},
                                  .places = at<RowPlace>(rows_at),
                                  .runs = at<HeadRun>(runs_at),
                                  .out = at<std::uint16_t>(out),
                                  .parts = at<float>(parts),
                                  .rows = rows,
                                  .query_heads = kQueryHeads,
                                  .num_runs = static_cast<std::int32_t>(runs.size()),
                                  .chunks = chunks,
                                  .scale = 1.0f / std::sqrt(static_cast<float>(kHeadDim))});
  });
  bench.add({{"kernel", "attention"}, {"m", rows}, {"length", length}}, micros,
            4.0 * rows * length * kHeads * kHeadDim);
}

void measure(bool quick) {
  const Device device(find_devices(), 0, 0, 1);
  Bench bench(device, quick ? 0.02 : 0.2);
  using enum TileFormat;
  for (const auto format : {bf16, e4m3_channel, e4m3_block, int8_channel, int8_group, int4_group}) {
    for (const std::int32_t m : {1, 16, 32, 64, 128, 512}) {
      if (quick && m > 1) continue;
      product(bench, format, m, kHidden + 2 * kHeads * kHeadDim, kHidden);  // q, k and v
      product(bench, format, m, 2 * kInner, kHidden);                       // gate and up
      product(bench, format, m, kHidden, kInner);                           // down
    }
  }
  product(bench, bf16, 1, kVocabulary, kHidden);
  for (const std::int32_t rows : {1, 128}) rms_norm(bench, rows);
  for (const auto& [rows, length] : {std::pair{1, 1024}, {1, 16384}, {32, 1024}, {128, 1024}}) {
    attention(bench, rows, length);
  }
  std::puts(bench.result().dump(2).c_str());
}

}  // namespace
}  // namespace lockstep::kernels::cuda

int main(int argc, char** argv) {
  try {
    lockstep::kernels::cuda::measure(argc > 1 && std::string_view(argv[1]) == "--quick");
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
