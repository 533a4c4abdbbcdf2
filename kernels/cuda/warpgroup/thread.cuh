// The thread context of kernels of warpgroups: for sm_90a alone.
#pragma once

#include "kernels/cuda/gpu_thread.cuh"

namespace lockstep::kernels::cuda {

// Four warps multiply together, from the first of a block on. REQUIRES of a block that its threads
// are a multiple of 128, and that all of a warpgroup come to the same calls.
struct WarpgroupThread : GpuThread {
  // What this thread wrote to shared memory is there for multiply_rows() after the next sync().
  LOCKSTEP_DEVICE void publish_rows() {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  }

  // sums += a * b^T, or where not to `add` sums = a * b^T: 64 rows of a by 8 * kPacks rows of b, in
  // bf16 with sums in f32. A warp has 16 rows of a, and of the sums, eight rows of b after eight,
  // as multiply_add() has them. Row r of b is 64 bytes from rows + 64 * r on, of which 16 bytes i
  // lie at place i ^ r / 2 % 4; columns 16 * step and on are multiplied. REQUIRES: rows is aligned
  // to 512 bytes; between begin_rows() and finish_rows() nothing else touches the sums, and neither
  // an a nor the rows change: what was an a is not written to again, and is kept until then by
  // keep(). (PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions": K-major, 64-byte
  // swizzling.)
  template <int kPacks>
  LOCKSTEP_DEVICE void begin_rows(Pack<float, 4> (&sums)[kPacks]) {
    hold(sums);
  }
  LOCKSTEP_DEVICE void commit_rows() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
  }
  template <int kPacks>
  LOCKSTEP_DEVICE void finish_rows(Pack<float, 4> (&sums)[kPacks]) {
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
    hold(sums);
  }
  template <int kPacks>
  LOCKSTEP_DEVICE void multiply_rows(Pack<float, 4> (&sums)[kPacks],
                                     const Pack<std::uint32_t, 4>& a, const std::byte* rows,
                                     int step, bool add = true) {
    static_assert(kPacks == 8 || kPacks == 16);
    const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(rows)) + 32 * step;
    // Eight rows to the next eight: 512 bytes; kind of swizzling: 2.
    const std::uint64_t rows_at = (address & 0x3ffff) >> 4 | 1ull << 16 | 32ull << 32 | 2ull << 62;
    // The instruction has a name for each number of rows, and every sum is an operand of it.
    if constexpr (kPacks == 8) {
      asm volatile(
          "{\n"
          ".reg .pred add;\n"
          "setp.ne.b32 add, %37, 0;\n"
          "wgmma.fence.sync.aligned;\n"  // a, too, was written by others
          "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
          "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, "
          "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, {%32, %33, %34, %35}, "
          "%36, add, 1, 1, 0;\n"
          "}"
          : "+f"(sums[0][0]), "+f"(sums[0][1]), "+f"(sums[0][2]), "+f"(sums[0][3]),
            "+f"(sums[1][0]), "+f"(sums[1][1]), "+f"(sums[1][2]), "+f"(sums[1][3]),
            "+f"(sums[2][0]), "+f"(sums[2][1]), "+f"(sums[2][2]), "+f"(sums[2][3]),
            "+f"(sums[3][0]), "+f"(sums[3][1]), "+f"(sums[3][2]), "+f"(sums[3][3]),
            "+f"(sums[4][0]), "+f"(sums[4][1]), "+f"(sums[4][2]), "+f"(sums[4][3]),
            "+f"(sums[5][0]), "+f"(sums[5][1]), "+f"(sums[5][2]), "+f"(sums[5][3]),
            "+f"(sums[6][0]), "+f"(sums[6][1]), "+f"(sums[6][2]), "+f"(sums[6][3]),
            "+f"(sums[7][0]), "+f"(sums[7][1]), "+f"(sums[7][2]), "+f"(sums[7][3])
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(rows_at), "r"(static_cast<int>(add)));
    } else {
      asm volatile(
          "{\n"
          ".reg .pred add;\n"
          "setp.ne.b32 add, %69, 0;\n"
          "wgmma.fence.sync.aligned;\n"  // a, too, was written by others
          "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
          "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, "
          "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, "
          "%36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, "
          "%53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, {%64, %65, %66, %67}, %68, add, "
          "1, 1, 0;\n"
          "}"
          : "+f"(sums[0][0]), "+f"(sums[0][1]), "+f"(sums[0][2]), "+f"(sums[0][3]),
            "+f"(sums[1][0]), "+f"(sums[1][1]), "+f"(sums[1][2]), "+f"(sums[1][3]),
            "+f"(sums[2][0]), "+f"(sums[2][1]), "+f"(sums[2][2]), "+f"(sums[2][3]),
            "+f"(sums[3][0]), "+f"(sums[3][1]), "+f"(sums[3][2]), "+f"(sums[3][3]),
            "+f"(sums[4][0]), "+f"(sums[4][1]), "+f"(sums[4][2]), "+f"(sums[4][3]),
            "+f"(sums[5][0]), "+f"(sums[5][1]), "+f"(sums[5][2]), "+f"(sums[5][3]),
            "+f"(sums[6][0]), "+f"(sums[6][1]), "+f"(sums[6][2]), "+f"(sums[6][3]),
            "+f"(sums[7][0]), "+f"(sums[7][1]), "+f"(sums[7][2]), "+f"(sums[7][3]),
            "+f"(sums[8][0]), "+f"(sums[8][1]), "+f"(sums[8][2]), "+f"(sums[8][3]),
            "+f"(sums[9][0]), "+f"(sums[9][1]), "+f"(sums[9][2]), "+f"(sums[9][3]),
            "+f"(sums[10][0]), "+f"(sums[10][1]), "+f"(sums[10][2]), "+f"(sums[10][3]),
            "+f"(sums[11][0]), "+f"(sums[11][1]), "+f"(sums[11][2]), "+f"(sums[11][3]),
            "+f"(sums[12][0]), "+f"(sums[12][1]), "+f"(sums[12][2]), "+f"(sums[12][3]),
            "+f"(sums[13][0]), "+f"(sums[13][1]), "+f"(sums[13][2]), "+f"(sums[13][3]),
            "+f"(sums[14][0]), "+f"(sums[14][1]), "+f"(sums[14][2]), "+f"(sums[14][3]),
            "+f"(sums[15][0]), "+f"(sums[15][1]), "+f"(sums[15][2]), "+f"(sums[15][3])
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(rows_at), "r"(static_cast<int>(add)));
    }
  }

  // After finish_rows(): an a has its registers until here.
  LOCKSTEP_DEVICE void keep(const Pack<std::uint32_t, 4>& a) {
    asm volatile("" ::"r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]) : "memory");
  }

 private:
  // The compiler moves no use of the sums across this.
  template <int kPacks>
  LOCKSTEP_DEVICE static void hold(Pack<float, 4> (&sums)[kPacks]) {
#pragma unroll
    for (int i = 0; i < kPacks; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) asm volatile("" : "+f"(sums[i][j])::"memory");
    }
  }
};

}  // namespace lockstep::kernels::cuda
