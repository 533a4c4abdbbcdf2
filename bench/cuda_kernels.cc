// The time of own CUDA kernels at the shapes of an 8B Llama, as JSON on standard output.
//
//   bench_cuda_kernels [--quick | --once | --shapes]
//
// --quick: few shapes, for a short time. --once: each kernel runs once, for a profiler; no figures.
// --shapes: products cut in all ways there are, to see whether product_shape() chooses well.
//
// Each figure is that of a recording of several calls, launched until 0.1 s are over. A call's
// operands are others than those of the call before it, so that they come from the device's memory
// and not from its cache.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "bench/cuda_read.h"
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
  // `seconds` of a figure; 0: each call is made once, and none is measured.
  Bench(const Device& device, double seconds) : gpu_(device), seconds_(seconds), noise_(16u << 20) {
    std::mt19937 random(1);
    for (auto& byte : noise_) byte = static_cast<std::byte>(random() & 0xbf);
    constexpr std::size_t kBytes = std::size_t{4} << 30;
    const auto from = array(kBytes, "read"), sum = array(16, "sum");
    const double micros = time(1, [&](int) {
      launch_read(from.data(), kBytes, static_cast<std::uint32_t*>(sum.data()),
                  gpu_.stream().get());
    });
    read_gb_per_s_ = 1e-3 * static_cast<double>(kBytes) / micros;
  }

  // Memory of random numbers below 2 in magnitude, in every format.
  device::Allocation array(std::size_t bytes, const char* name) {
    device::Allocation memory = gpu_.memory().allocate(name, bytes);
    for (std::size_t at = 0; at < bytes; at += noise_.size()) {
      if (cudaMemcpy(static_cast<std::byte*>(memory.data()) + at, noise_.data(),
                     std::min(noise_.size(), bytes - at), cudaMemcpyHostToDevice) != cudaSuccess) {
        throw Error("cudaMemcpy failed");
      }
    }
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
    if (seconds_ == 0) return 1;
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
    line["of_read"] = 1e-3 * bytes / micros / read_gb_per_s_;
    lines_.push_back(std::move(line));
  }

  StreamGpu& gpu() { return gpu_; }
  nlohmann::json result() const {
    return {
        {"device", gpu_.device().name()}, {"read_gb_per_s", read_gb_per_s_}, {"kernels", lines_}};
  }

 private:
  StreamGpu gpu_;
  const double seconds_;
  std::vector<std::byte> noise_;
  double read_gb_per_s_ = 0;
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

// A product's operands, as many of them as the cache cannot hold.
class Product {
 public:
  Product(Bench& bench, TileFormat format, std::int32_t m, std::int32_t n, std::int32_t k)
      : format_(format),
        m_(m),
        n_(n),
        k_(k),
        tile_rows_(divide_up(n, rows_of_tile(format))),
        bytes_(static_cast<std::size_t>(tile_rows_ * groups() * bytes_of_tile(format))),
        copies_(copies_of(bytes_)),
        tiles_(bench.array(bytes_ * static_cast<std::size_t>(copies_), "tiles")),
        scales_(bench.array(
            static_cast<std::size_t>(tile_rows_ * scales_of_tile_row(format, groups()) + 1) * 4,
            "scales")),
        x_(bench.array(static_cast<std::size_t>(m) * static_cast<std::size_t>(k) * 2, "x")),
        out_(bench.array(static_cast<std::size_t>(m) * static_cast<std::size_t>(n) * 4, "out")),
        plan_(make_sum_plan(whole_sum(k))),
        leaves_(bench.array_of(plan_.leaves, "leaves")),
        lanes_(bench.array_of(plan_.lanes, "lanes")),
        additions_(bench.array_of(plan_.additions, "additions")),
        level_ends_(bench.array_of(plan_.level_ends, "level_ends")),
        segments_(bench.array_of(plan_.segments, "segments")) {}

  int copies() const { return copies_; }
  ProductArgs args(int copy) const {
    return {.weights = {.format = format_,
                        .tiles = at<std::byte>(tiles_, bytes_ * static_cast<std::size_t>(copy)),
                        .scales = at<float>(scales_),
                        .rows = n_,
                        .groups = groups()},
            .x = at<std::uint16_t>(x_),
            .x_stride = k_,
            .m = m_,
            .plan = {.leaves = at<Leaf>(leaves_),
                     .lanes = at<std::int32_t>(lanes_),
                     .additions = at<Addition>(additions_),
                     .level_ends = at<std::int32_t>(level_ends_),
                     .segments = at<std::int32_t>(segments_),
                     .num_leaves = static_cast<std::int32_t>(plan_.leaves.size()),
                     .num_lanes = static_cast<std::int32_t>(plan_.lanes.size()) - 1,
                     .num_levels = static_cast<std::int32_t>(plan_.level_ends.size()),
                     .num_segments = static_cast<std::int32_t>(plan_.segments.size()),
                     .depth = plan_.depth},
            .out = at<float>(out_),
            .row_stride = n_,
            .segment_stride = std::int64_t{m_} * n_};
  }
  // A line of the result about it.
  void add(Bench& bench, nlohmann::json line, double micros) const {
    line.update({{"format", name_of(format_)}, {"m", m_}, {"n", n_}, {"k", k_}});
    bench.add(std::move(line), micros, static_cast<double>(bytes_) + 2.0 * m_ * k_ + 4.0 * m_ * n_);
  }

 private:
  std::int32_t groups() const { return k_ / 32; }

  TileFormat format_;
  std::int32_t m_, n_, k_;
  std::int64_t tile_rows_;
  std::size_t bytes_;
  int copies_;
  device::Allocation tiles_, scales_, x_, out_;
  HostSumPlan plan_;
  device::Allocation leaves_, lanes_, additions_, level_ends_, segments_;
};

void product(Bench& bench, TileFormat format, std::int32_t m, std::int32_t n, std::int32_t k) {
  const Product product(bench, format, m, n, k);
  const double micros =
      bench.time(product.copies(), [&](int copy) { bench.gpu().run(product.args(copy)); });
  product.add(bench, {{"kernel", "product"}}, micros);
}

// The same product cut in all ways that a block's shared memory allows.
void shapes_of_product(Bench& bench, TileFormat format, std::int32_t m, std::int32_t n,
                       std::int32_t k) {
  const Product product(bench, format, m, n, k);
  const auto measure = [&](const ProductShape& shape, nlohmann::json line) {
    const ProductArgs args = product.args(0);
    if (product_grid(args, shape).shared_bytes > kMaxSharedBytes) return;
    const double micros = bench.time(product.copies(), [&](int copy) {
      launch_product(product.args(copy), shape, bench.gpu().stream().get());
    });
    line["chosen"] = product_shape(args) == shape;
    product.add(bench, std::move(line), micros);
  };
  if (m <= 64) {
    for (const std::int32_t rows : {std::min(m, 8), std::min(m, 16)}) {
      for (const std::int32_t tiles : {1, 2, 3, 4, 6, 8, 14}) {
        measure(FewRows{rows, tiles}, {{"kernel", "few"}, {"rows", rows}, {"tiles", tiles}});
      }
      if (m <= 8) break;
    }
  }
  if (m < 16) return;
  for (const std::int32_t row_warps : {1, 2, 4}) {
    if ((row_warps - 1) * kWarpRows >= m) continue;
    for (const std::int32_t column_warps : {1, 2, 4, 8}) {
      if (row_warps * column_warps > kProductWarps) continue;
      for (const std::int32_t groups : {1, 2, 4, 8}) {
        measure(ManyRows{row_warps, column_warps, groups}, {{"kernel", "many"},
                                                            {"row_warps", row_warps},
                                                            {"column_warps", column_warps},
                                                            {"groups", groups}});
      }
    }
  }
  if (!bench.gpu().has_warpgroups()) return;
  for (const WideRows wide :
       {WideRows{64, 1, 4}, {64, 2, 2}, {64, 2, 3}, {64, 2, 4}, {128, 2, 4}}) {
    if (wide.rows == 128 && (m <= 64 || format == TileFormat::int4_group)) continue;
    measure(wide, {{"kernel", "wide"},
                   {"rows", wide.rows},
                   {"warpgroups", wide.warpgroups},
                   {"stages", wide.stages}});
  }
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

// Keys and values of `sequences` sequences of `length` positions, as often as the cache cannot
// hold.
class CachedSequences {
 public:
  static constexpr std::int32_t kBlockSize = 64;

  CachedSequences(Bench& bench, std::int32_t sequences, std::int32_t length)
      : blocks_(static_cast<std::int32_t>(divide_up(length, kBlockSize))),
        bytes_(static_cast<std::size_t>(sequences) * static_cast<std::size_t>(blocks_) *
               kBlockSize * kHeads * kHeadDim * 2),
        copies_(copies_of(2 * bytes_)),
        keys_(bench.array(bytes_ * static_cast<std::size_t>(copies_), "keys")),
        values_(bench.array(bytes_ * static_cast<std::size_t>(copies_), "values")) {
    std::vector<std::int32_t> table(static_cast<std::size_t>(sequences * blocks_));
    std::iota(table.begin(), table.end(), 0);
    table_ = bench.array_of(table, "block tables");
  }

  int copies() const { return copies_; }
  BlockTables tables() const { return {at<std::int32_t>(table_), blocks_}; }
  PagedCache cache(int copy) const {
    const auto turn = static_cast<std::size_t>(copy) * bytes_;
    return {.keys = at<void*>(keys_, turn),
            .values = at<void*>(values_, turn),
            .format = CacheFormat::bf16,
            .heads = kHeads,
            .block_size = kBlockSize,
            .head_dim = kHeadDim};
  }

 private:
  const std::int32_t blocks_;  // of a sequence
  const std::size_t bytes_;    // of a copy
  const int copies_;
  const device::Allocation keys_, values_;
  device::Allocation table_;
};

// One row a sequence, each with `length` positions.
void attention(Bench& bench, std::int32_t rows, std::int32_t length) {
  const CachedSequences cached(bench, rows, length);
  std::vector<RowPlace> places;
  for (std::int32_t i = 0; i < rows; ++i) places.push_back({i, length - 1});
  std::vector<std::int32_t> first_query;
  for (std::int32_t i = 0; i <= kHeads; ++i) first_query.push_back(i * kQueryHeads / kHeads);
  const auto runs = head_runs(first_query);
  const auto rows_at = bench.array_of(places, "places");
  const auto runs_at = bench.array_of(runs, "runs");
  const auto q = bench.array(static_cast<std::size_t>(rows) * kQueryHeads * kHeadDim * 2, "q");
  const auto out = bench.array(q.size(), "out");
  const std::int32_t chunks = chunks_up_to(length - 1);
  const auto parts = bench.array(sizeof(float) * static_cast<std::size_t>(attention_part_floats(
                                                     rows, chunks, kQueryHeads, kHeadDim)),
                                 "parts");
  const double micros = bench.time(cached.copies(), [&](int copy) {
    bench.gpu().run(AttentionArgs{.q = at<std::uint16_t>(q),
                                  .cache = cached.cache(copy),
                                  .tables = cached.tables(),
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

// Queries of `rows` sequences at their last of `length` positions, or of the last `rows` positions
// of one, by FlashInfer's kernel in chunks of so many positions.
void flashinfer(Bench& bench, std::int32_t rows, std::int32_t length, bool prompt,
                std::int32_t chunk) {
  constexpr std::int32_t kGroup = kQueryHeads / kHeads;
  const std::int32_t sequences = prompt ? 1 : rows, chunks = (length + chunk - 1) / chunk;
  const CachedSequences cached(bench, sequences, length);
  std::vector<RowPlace> places;
  for (std::int32_t i = 0; i < rows; ++i) {
    places.push_back(prompt ? RowPlace{0, length - rows + i} : RowPlace{i, length - 1});
  }
  const std::int64_t long_tiles = prompt ? divide_up(rows, kLongTile / kGroup) : 0;
  const FlashInferLayout layout({.rows = rows,
                                 .short_items = prompt ? 0 : rows * chunks,
                                 .long_items = static_cast<std::int32_t>(long_tiles) * chunks,
                                 .parts = std::int64_t{rows} * chunks});
  std::vector<std::byte> plan(static_cast<std::size_t>(layout.bytes));
  const FlashInferPlan planned = plan_flashinfer({.group = kGroup,
                                                  .block_size = CachedSequences::kBlockSize,
                                                  .stride = cached.tables().stride,
                                                  .sequences = sequences,
                                                  .chunk = chunk},
                                                 places, layout, plan);
  const auto plan_at = bench.array_of(plan, "plan");
  const std::size_t row_floats = std::size_t{kQueryHeads} * kHeadDim;
  const auto parts = static_cast<std::size_t>(layout.limits.parts);
  const auto part_values = bench.array(parts * row_floats * sizeof(float), "parts");
  const auto part_weights = bench.array(parts * kQueryHeads * sizeof(float), "weights of parts");
  const auto q = bench.array(static_cast<std::size_t>(rows) * row_floats * 2, "q");
  const auto out = bench.array(q.size(), "out");
  const double micros = bench.time(cached.copies(), [&](int copy) {
    const FlashInferArgs args{.q = at<std::uint16_t>(q),
                              .cache = cached.cache(copy),
                              .blocks = cached.tables().blocks,
                              .plan = at<std::byte>(plan_at),
                              .values = at<float>(part_values),
                              .weights = at<float>(part_weights),
                              .out = at<std::uint16_t>(out),
                              .query_heads = kQueryHeads,
                              .scale = 1.0f / std::sqrt(static_cast<float>(kHeadDim))};
    const FlashInferWave& wave = planned.waves.front();
    bench.gpu().run(args, layout, wave, grid_of(wave));
  });
  bench.add({{"kernel", prompt ? "flashinfer, prompt" : "flashinfer"},
             {"m", rows},
             {"length", length},
             {"chunk", chunk}},
            micros, 4.0 * sequences * length * kHeads * kHeadDim);
}

void measure_shapes() {
  const Device device(find_devices(), 0, 0, 1);
  Bench bench(device, 0.004);
  using enum TileFormat;
  for (const auto format : {bf16, e4m3_channel, int4_group}) {
    for (const std::int32_t m : {1, 8, 16, 24, 32, 64, 128, 512}) {
      shapes_of_product(bench, format, m, kHidden + 2 * kHeads * kHeadDim, kHidden);
      shapes_of_product(bench, format, m, 2 * kInner, kHidden);
      shapes_of_product(bench, format, m, kHidden, kInner);
    }
  }
  std::puts(bench.result().dump().c_str());
}

void measure(double seconds, bool quick) {
  const Device device(find_devices(), 0, 0, 1);
  Bench bench(device, seconds);
  using enum TileFormat;
  for (const auto format : {bf16, e4m3_channel, e4m3_block, int8_channel, int8_group, int4_group}) {
    for (const std::int32_t m : {1, 16, 32, 64, 128, 512}) {
      if (quick && m != 1 && m != 128) continue;
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
  for (const std::int32_t chunk : {128, 256, 512, 1024, 2048}) {
    if (!flashinfer_built_in() || (quick && chunk != kFlashInferChunk)) continue;
    for (const auto& [rows, length] :
         {std::pair{1, 200}, {1, 1024}, {1, 16384}, {32, 1024}, {128, 200}, {128, 1024}}) {
      flashinfer(bench, rows, length, /*prompt=*/false, chunk);
    }
    for (const std::int32_t length : {2048, 8192}) {
      flashinfer(bench, 2048, length, /*prompt=*/true, chunk);
    }
  }
  if (seconds > 0) std::puts(bench.result().dump(2).c_str());
}

}  // namespace
}  // namespace lockstep::kernels::cuda

int main(int argc, char** argv) {
  using namespace lockstep::kernels::cuda;
  const std::string_view option = argc > 1 ? argv[1] : "";
  try {
    if (option == "--shapes") {
      measure_shapes();
    } else if (option == "--once") {
      measure(0, true);
    } else {
      const bool quick = option == "--quick";
      measure(quick ? 0.02 : 0.1, quick);
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
