// What the tests of kernels run on, chosen when they are linked: the executor in kernels_test and
// shard_test (executor_test_gpu.cc), a GPU in cuda_suite (tests/kernels/cuda_device/
// device_test_gpu.cc). The same test sources are in both.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/cuda/gpu.h"

namespace lockstep::kernels::cuda {

// A Gpu with what tests alone ask of it.
class TestGpuBody {
 public:
  virtual ~TestGpuBody() = default;
  virtual Gpu& gpu() = 0;
  // Kernels must not write to the array at `first` any more; seen by the executor alone.
  virtual void protect(const void* first) = 0;
  // From now on kernels may only read what is protected before they wait for earlier ones; the
  // same.
  virtual void require_waiting() = 0;
  virtual void run_product(const ProductArgs& args, const ProductShape& shape) = 0;
};

// The three functions that are linked in. The first says why there is none; empty when there is.
std::string why_no_test_gpu();
std::unique_ptr<TestGpuBody> make_test_gpu();
// Relative to the sum of the magnitudes of a product's terms: what sums in f32 may be off.
double product_error();

// Arrays on the GPU of the tests, and kernels on them.
class TestGpu {
 public:
  TestGpu() : TestGpu(make_test_gpu()) {}
  explicit TestGpu(std::unique_ptr<TestGpuBody> body) : body_(std::move(body)) {}

  Gpu& gpu() { return body_->gpu(); }
  void run_product(const ProductArgs& args, const ProductShape& shape) {
    body_->run_product(args, shape);
  }

  void require_waiting() { body_->require_waiting(); }

  // An array that kernels read. None of an empty vector.
  template <class T>
  const T* constant(const std::vector<T>& values, const std::string& name) {
    const T* first = variable(values, name);
    if (first != nullptr) body_->protect(first);
    return first;
  }
  // An array that kernels read and write.
  template <class T>
  T* variable(const std::vector<T>& values, const std::string& name) {
    return static_cast<T*>(array(std::as_bytes(std::span(values)), name));
  }
  // The same with all bytes 0xff: not a number, and no index.
  template <class T>
  T* blank(std::size_t count, const std::string& name) {
    return static_cast<T*>(array(std::vector(count * sizeof(T), std::byte{0xff}), name));
  }

  // The values of an array, of which `first` is the first, when all work is done.
  template <class T>
  std::vector<T> values(const T* first) {
    const auto bytes = bytes_at(first);
    std::vector<T> values(bytes.size() / sizeof(T));
    if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }

 private:
  void* array(std::span<const std::byte> bytes, const std::string& name);
  std::span<const std::byte> bytes_at(const void* first);
  // Pinned memory of at least so many bytes.
  std::span<std::byte> staging(std::size_t bytes);

  std::unique_ptr<TestGpuBody> body_;
  device::Allocation staging_;
  std::map<const void*, device::Allocation> arrays_;
};

// A test that needs the GPU of the tests; it is skipped where there is none.
class OnTestGpu : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = why_no_test_gpu(); !reason.empty()) GTEST_SKIP() << reason;
  }
};

}  // namespace lockstep::kernels::cuda
