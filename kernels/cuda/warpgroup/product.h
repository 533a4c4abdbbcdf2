// Products by warpgroups (kernels/cuda/product_wide.cuh), where the build has them.
#pragma once

#include "kernels/cuda/product.h"

namespace lockstep::kernels::cuda {

// Throws Error if the build has no such kernel (warpgroups_built_in()).
void launch_wide_product(const ProductArgs& args, const WideRows& shape, StreamHandle stream);

}  // namespace lockstep::kernels::cuda
