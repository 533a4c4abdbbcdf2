// Linked in place of the other file of this folder where the build is for no Hopper.
#include "base/error.h"
#include "kernels/cuda/warpgroup/product.h"

namespace lockstep::kernels::cuda {

bool warpgroups_built_in() { return false; }

void launch_wide_product(const ProductArgs&, const WideRows&, StreamHandle) {
  throw Error("this build has no products by warpgroups: they need sm_90a");
}

}  // namespace lockstep::kernels::cuda
