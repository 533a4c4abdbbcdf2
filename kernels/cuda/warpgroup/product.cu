#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/product_wide.cuh"
#include "kernels/cuda/warpgroup/product.h"
#include "kernels/cuda/warpgroup/thread.cuh"

namespace lockstep::kernels::cuda {
namespace {

struct Call {
  ProductArgs args;
  WideRows shape;
};

template <class Tile, int kRows, int kWarpgroups>
__global__ void __launch_bounds__(kWarpgroups * 4 * kWarp, 1)
    wide_rows_kernel(const __grid_constant__ Call call) {
  WarpgroupThread thread;
  thread.let_next_begin();
  product_wide<Tile, kRows, kWarpgroups>(thread, call.args, call.shape);
}

template <class Tile>
void launch_format(const ProductArgs& args, const WideRows& shape, StreamHandle stream) {
  with_wide_shape<Tile>(shape, [&](auto rows, auto warpgroups) {
    launch_kernel("product", wide_rows_kernel<Tile, rows, warpgroups>, product_grid(args, shape),
                  Call{args, shape}, stream);
  });
}

}  // namespace

bool warpgroups_built_in() { return true; }

void launch_wide_product(const ProductArgs& args, const WideRows& shape, StreamHandle stream) {
  with_tile(args.weights.format,
            [&]<class Tile>(Tile) { launch_format<Tile>(args, shape, stream); });
}

}  // namespace lockstep::kernels::cuda
