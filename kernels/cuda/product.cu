#include "kernels/cuda/gpu_thread.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/product_few.cuh"
#include "kernels/cuda/product_many.cuh"
#include "kernels/cuda/warpgroup/product.h"

namespace lockstep::kernels::cuda {
namespace {

template <class Shape>
struct Call {
  ProductArgs args;
  Shape shape;
};

// Two blocks a multiprocessor.
template <class Tile, int kHalves>
__global__ void __launch_bounds__(kProductWarps* kWarp, 2)
    few_rows_kernel(const __grid_constant__ Call<FewRows> call) {
  GpuThread thread;
  thread.let_next_begin();
  product_few<Tile, kHalves>(thread, call.args, call.shape);
}

template <class Tile>
__global__ void __launch_bounds__(kProductWarps* kWarp)
    many_rows_kernel(const __grid_constant__ Call<ManyRows> call) {
  GpuThread thread;
  thread.let_next_begin();
  thread.wait_for_earlier();
  product_many<Tile>(thread, call.args, call.shape);
}

template <class Tile>
void launch_format(const ProductArgs& args, const ProductShape& shape, StreamHandle stream) {
  const Grid grid = product_grid(args, shape);
  if (const auto* few = std::get_if<FewRows>(&shape)) {
    with_halves<Tile>(*few, [&](auto halves) {
      launch_kernel("product", few_rows_kernel<Tile, halves>, grid, Call<FewRows>{args, *few},
                    stream);
    });
  } else {
    launch_kernel("product", many_rows_kernel<Tile>, grid,
                  Call<ManyRows>{args, std::get<ManyRows>(shape)}, stream);
  }
}

}  // namespace

void launch_product(const ProductArgs& args, StreamHandle stream) {
  if (args.m > 0) launch_product(args, product_shape(args, most_shared_bytes()), stream);
}

void launch_product(const ProductArgs& args, const ProductShape& shape, StreamHandle stream) {
  if (const auto* wide = std::get_if<WideRows>(&shape)) {
    return launch_wide_product(args, *wide, stream);
  }
  switch (args.weights.format) {
    case TileFormat::bf16: return launch_format<Bf16Tile>(args, shape, stream);
    case TileFormat::int8_channel: return launch_format<Int8ChannelTile>(args, shape, stream);
    case TileFormat::int8_group: return launch_format<Int8GroupTile>(args, shape, stream);
    case TileFormat::e4m3_channel: return launch_format<E4m3ChannelTile>(args, shape, stream);
    case TileFormat::e4m3_block: return launch_format<E4m3BlockTile>(args, shape, stream);
    case TileFormat::int4_group: return launch_format<Int4Tile>(args, shape, stream);
  }
}

}  // namespace lockstep::kernels::cuda
