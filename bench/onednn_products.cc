// oneDNN's products in bf16: weights in the layout that it chooses for itself. Takes the arguments
// of products.cc and prints the same JSON.
#include <omp.h>

#include <dnnl.hpp>
#include <utility>
#include <vector>

#include "bench/product_shapes.h"

namespace {

using dnnl::memory;
using lockstep::bench::Shape;

double best_us(const Shape& shape, std::int64_t rows) {
  dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const memory::desc x_form({rows, shape.k}, memory::data_type::bf16, memory::format_tag::ab);
  const memory::desc any({shape.k, shape.n}, memory::data_type::bf16, memory::format_tag::any);
  const memory::desc out_form({rows, shape.n}, memory::data_type::f32, memory::format_tag::ab);
  const dnnl::matmul::primitive_desc form(dnnl::matmul::desc(x_form, any, out_form), engine);
  const dnnl::matmul matmul(form);
  const std::size_t bytes = form.weights_desc().get_size();
  std::vector<memory> copies;
  for (std::size_t total = 0; total < lockstep::bench::kBeyondCaches; total += bytes) {
    copies.emplace_back(form.weights_desc(), engine);
    auto* words = static_cast<std::uint16_t*>(copies.back().get_data_handle());
    std::fill_n(words, bytes / 2, std::uint16_t{0x3c00});
  }
  memory x(x_form, engine), out(out_form, engine);
  auto* words = static_cast<std::uint16_t*>(x.get_data_handle());
  std::fill_n(words, rows * shape.k, std::uint16_t{0x3d00});
  return lockstep::bench::best_us(copies.size(), [&](std::size_t copy) {
    matmul.execute(stream,
                   {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, copies[copy]}, {DNNL_ARG_DST, out}});
    stream.wait();
  });
}

}  // namespace

int main(int argc, char** argv) {
  const auto asked = lockstep::bench::asked(argc, argv);
  omp_set_num_threads(asked.threads);
  bool is_first = true;
  for (const std::int64_t rows : asked.rows) {
    const double us = best_us(asked.shape, rows);
    const auto bytes = static_cast<std::size_t>(2 * asked.shape.n * asked.shape.k);
    lockstep::bench::print(std::exchange(is_first, false), asked, rows, bytes, us);
  }
  std::puts("\n]");
}
