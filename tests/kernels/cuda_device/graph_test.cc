#include "kernels/cuda/graph.h"

#include <gmock/gmock.h>

#include <vector>

#include "kernels/cuda/device_buffer.h"
#include "kernels/cuda/event.h"
#include "tests/kernels/cuda_device/device_fixture.h"
#include "tests/kernels/cuda_device/test_kernels.h"

namespace lockstep::kernels::cuda {
namespace {

using testing::HasSubstr;

class CudaGraph : public OnDevice {
 protected:
  void SetUp() override {
    OnDevice::SetUp();
    if (!IsSkipped()) value_ = DeviceBuffer<int>(pool(), "value", 1);
  }
  int* value() { return value_.data(); }
  void set(int value) {
    value_.upload(std::vector<int>{value}, stream());
    stream().synchronize();
  }
  int result() {
    std::vector<int> result(1);
    value_.download(result, stream());
    stream().synchronize();
    return result[0];
  }
  Graph triple_and_increment() {
    return Graph::capture(stream(), [&] {
      delayed_multiply_add(value(), 3, 0, 1, stream());
      delayed_multiply_add(value(), 1, 1, 0, stream());
    });
  }

 private:
  DeviceBuffer<int> value_;
};

TEST_F(CudaGraph, RunsNothingWhileItIsCaptured) {
  set(2);
  const Graph graph = triple_and_increment();
  EXPECT_EQ(result(), 2);
  EXPECT_EQ(graph.nodes(), 2u);
}

TEST_F(CudaGraph, DoesAllItsWorkAtEveryLaunch) {
  set(2);
  const Graph graph = triple_and_increment();
  graph.launch(stream());
  EXPECT_EQ(result(), 7);
  graph.launch(stream());
  graph.launch(stream());
  EXPECT_EQ(result(), 67);
}

TEST_F(CudaGraph, HoldsTheWorkOfStreamsThatJoinIt) {
  set(2);
  const Stream other(device());
  Event forked(device());
  Event joined(device());
  const Graph graph = Graph::capture(stream(), [&] {
    delayed_multiply_add(value(), 3, 0, 1, stream());
    forked.record(stream());
    other.wait_for(forked);
    delayed_multiply_add(value(), 1, 1, 0, other);
    joined.record(other);
    stream().wait_for(joined);
  });
  graph.launch(stream());
  EXPECT_EQ(result(), 7);
}

TEST_F(CudaGraph, LeavesAUsableStreamWhenItsBodyThrows) {
  set(2);
  EXPECT_EQ(error_of([&] {
              Graph::capture(stream(), [&] {
                delayed_multiply_add(value(), 3, 0, 0, stream());
                throw Error("no");
              });
            }),
            "no");
  EXPECT_EQ(result(), 2);
  delayed_multiply_add(value(), 5, 0, 0, stream());
  EXPECT_EQ(result(), 10);
}

TEST_F(CudaGraph, RefusesToWaitInsideACapture) {
  set(2);
  EXPECT_THAT(error_of([&] { Graph::capture(stream(), [&] { stream().synchronize(); }); }),
              HasSubstr("cudaStreamSynchronize"));
  delayed_multiply_add(value(), 5, 0, 0, stream());
  EXPECT_EQ(result(), 10);
}

}  // namespace
}  // namespace lockstep::kernels::cuda
