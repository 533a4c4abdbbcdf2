#include "kernels/cuda/gpu_thread.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/product_few.cuh"
#include "kernels/cuda/product_many.cuh"

namespace lockstep::kernels::cuda {
namespace {

template <class Shape>
struct Call {
  ProductArgs args;
  Shape shape;
};

// Two blocks a multiprocessor.
template <class Tile>
__global__ void __launch_bounds__(kProductWarps* kWarp, 2)
    few_rows_kernel(const __grid_constant__ Call<FewRows> call) {
  GpuThread thread;
  product_few<Tile>(thread, call.args, call.shape);
}

template <class Tile>
__global__ void __launch_bounds__(kProductWarps* kWarp)
    many_rows_kernel(const __grid_constant__ Call<ManyRows> call) {
  GpuThread thread;
  product_many<Tile>(thread, call.args, call.shape);
}

template <class Tile>
void launch_format(const ProductArgs& args, const ProductShape& shape, StreamHandle stream) {
  const Grid grid = product_grid(args, shape);
  if (const auto* few = std::get_if<FewRows>(&shape)) {
    launch_kernel("product", few_rows_kernel<Tile>, grid, Call<FewRows>{args, *few}, stream);
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
