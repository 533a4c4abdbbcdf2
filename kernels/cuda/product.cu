#include "kernels/cuda/gpu_thread.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/product.cuh"

namespace lockstep::kernels::cuda {
namespace {

struct Call {
  ProductArgs args;
  ProductShape shape;
};

template <class Tile, int kRowTiles>
__global__ void __launch_bounds__(256) product_kernel(const __grid_constant__ Call call) {
  GpuThread thread;
  product<Tile, kRowTiles>(thread, call.args, call.shape);
}

template <class Tile>
void launch_format(const ProductArgs& args, const ProductShape& shape, StreamHandle stream) {
  const Call call{args, shape};
  const Grid grid = product_grid(args, shape);
  const auto kernel = shape.row_tiles == 1   ? product_kernel<Tile, 1>
                      : shape.row_tiles == 2 ? product_kernel<Tile, 2>
                                             : product_kernel<Tile, 4>;
  launch_kernel("product", kernel, grid, call, stream);
}

}  // namespace

void launch_product(const ProductArgs& args, StreamHandle stream) {
  if (args.m > 0) launch_product(args, product_shape(args), stream);
}

void launch_product(const ProductArgs& args, const ProductShape& shape, StreamHandle stream) {
  switch (args.weights.format) {
    case TileFormat::bf16: return launch_format<Bf16Tile>(args, shape, stream);
    case TileFormat::int8_channel: return launch_format<Int8ChannelTile>(args, shape, stream);
    case TileFormat::e4m3_channel: return launch_format<E4m3ChannelTile>(args, shape, stream);
    case TileFormat::e4m3_block: return launch_format<E4m3BlockTile>(args, shape, stream);
    case TileFormat::int4_group: return launch_format<Int4Tile>(args, shape, stream);
  }
}

}  // namespace lockstep::kernels::cuda
