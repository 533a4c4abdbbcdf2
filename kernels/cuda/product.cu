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
  thread.begin_in_line();
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
  with_tile(args.weights.format,
            [&]<class Tile>(Tile) { launch_format<Tile>(args, shape, stream); });
}

}  // namespace lockstep::kernels::cuda
