// The thread context of kernels on a GPU: every kernel is a template over a class with these
// members. tests/kernels/cuda/block_executor.h has the one that runs on the CPU.
#pragma once

#include <cstdint>

#include "kernels/cuda/device_function.h"
#include "kernels/cuda/pack.h"

namespace lockstep::kernels::cuda {

struct GpuThread {
  LOCKSTEP_DEVICE int index() const { return static_cast<int>(threadIdx.x); }  // in the block
  LOCKSTEP_DEVICE int count() const { return static_cast<int>(blockDim.x); }
  LOCKSTEP_DEVICE int lane() const { return index() % 32; }
  LOCKSTEP_DEVICE int warp() const { return index() / 32; }
  LOCKSTEP_DEVICE int block_x() const { return static_cast<int>(blockIdx.x); }
  LOCKSTEP_DEVICE int block_y() const { return static_cast<int>(blockIdx.y); }
  LOCKSTEP_DEVICE int blocks_x() const { return static_cast<int>(gridDim.x); }

  // Where the device can (compute capability 9.0), a kernel begins while the one before it in line
  // still runs: once all of that one's blocks have said that it may, and there is room. Before
  // wait_for_earlier() a kernel reads nothing that another writes, and writes nothing; after it,
  // all that earlier ones wrote is there. A block at least of every kernel that is launched by
  // launch_overlapping() waits: what is behind a kernel is then behind all in front of it. No
  // kernel of others that begins early and does not wait may follow (full_stop.h).
  LOCKSTEP_DEVICE void let_next_begin() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
  }
  LOCKSTEP_DEVICE void wait_for_earlier() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
  }

  // Of kernels that have nothing to do before.
  LOCKSTEP_DEVICE void begin_in_line() {
    let_next_begin();
    wait_for_earlier();
  }

  // Waits for all threads of the block; what they wrote to shared memory can be read then.
  LOCKSTEP_DEVICE void sync() { __syncthreads(); }
  // The same for a warp.
  LOCKSTEP_DEVICE void sync_warp() { __syncwarp(); }

  // The value of lane() ^ mask, or of lane() + delta (one's own past the last lane). All lanes of a
  // warp take part.
  template <class T>
  LOCKSTEP_DEVICE T shuffle_xor(T value, int mask) {
    return __shfl_xor_sync(0xffffffffu, value, mask);
  }
  template <class T>
  LOCKSTEP_DEVICE T shuffle_down(T value, int delta) {
    return __shfl_down_sync(0xffffffffu, value, static_cast<unsigned>(delta));
  }

  // `count` values of the block's shared memory, `byte_offset` bytes from its start.
  template <class T>
  LOCKSTEP_DEVICE T* shared(std::int64_t byte_offset, std::int64_t /*count*/) {
    extern __shared__ __align__(1024) unsigned char memory[];
    return reinterpret_cast<T*>(memory + byte_offset);
  }

  // *to += value in shared memory, by any number of threads at once.
  LOCKSTEP_DEVICE void add_shared(std::uint64_t* to, std::uint64_t value) {
    atomicAdd(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(value));
  }

  // Global memory. Kernels touch it with these alone, so that tests see every access.
  template <class T>
  LOCKSTEP_DEVICE T load(const T* from) {
    return *from;
  }
  template <class T>
  LOCKSTEP_DEVICE void store(T* to, const T& value) {
    *to = value;
  }

  // Words by which ranks tell each other that memory is written, on whichever GPU it lies. What
  // this thread has written before a release, and what others of its block had before their last
  // sync(), is read by whoever has read the word by an acquire, and by its block after the next
  // sync(). (PTX ISA, "Memory Consistency Model".)
  LOCKSTEP_DEVICE void store_release(std::uint64_t* to, std::uint64_t value) {
    asm volatile("st.release.sys.global.u64 [%0], %1;" ::"l"(to), "l"(value) : "memory");
  }
  LOCKSTEP_DEVICE std::uint64_t load_acquire(const std::uint64_t* from) {
    std::uint64_t value;
    asm volatile("ld.acquire.sys.global.u64 %0, [%1];" : "=l"(value) : "l"(from) : "memory");
    return value;
  }
  // A clock that all of a device's multiprocessors share, and that does not stand still while
  // another process has the device.
  LOCKSTEP_DEVICE std::uint64_t nanoseconds() {
    std::uint64_t now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    return now;
  }

  // Begins to copy 16 bytes from global to shared memory, past the first cache and without a
  // register: zeros, and no access, if they are not `there`. What was begun before a
  // commit_copies() is a group; wait_copies() waits for all of this thread's groups but the latest
  // kLeft.
  LOCKSTEP_DEVICE void copy_async(Pack<std::uint32_t, 4>* to, const Pack<std::uint32_t, 4>* from,
                                  bool there) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(
                     static_cast<std::uint32_t>(__cvta_generic_to_shared(to))),
                 "l"(from), "r"(there ? 16 : 0)
                 : "memory");
  }
  // The same of what is not read again for long: it makes room in the second cache before all else.
  LOCKSTEP_DEVICE void copy_async_once(Pack<std::uint32_t, 4>* to,
                                       const Pack<std::uint32_t, 4>* from, bool there) {
    std::uint64_t first_to_go;
    asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(first_to_go));
    asm volatile("cp.async.cg.shared.global.L2::cache_hint.L2::128B [%0], [%1], 16, %2, %3;" ::"r"(
                     static_cast<std::uint32_t>(__cvta_generic_to_shared(to))),
                 "l"(from), "r"(there ? 16 : 0), "l"(first_to_go)
                 : "memory");
  }
  LOCKSTEP_DEVICE void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
  template <int kLeft>
  LOCKSTEP_DEVICE void wait_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
  }

  // Asks for global memory to be brought into the device's second cache, where it can be asked for.
  // REQUIRES: both are multiples of 16.
  LOCKSTEP_DEVICE void prefetch(const std::byte* from, std::uint32_t bytes) {
#if __CUDA_ARCH__ >= 900
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes));
#endif
  }

  // sums += a * b on the warp's matrix unit, in bf16 with sums in f32: [16, 16] by [16, 8]. With
  // lane() = 4 * g + q a lane holds, two numbers a word, lower columns in the lower half:
  //   a: rows g, g + 8, g, g + 8 at columns 2q and 2q + 1, the latter two at 8 more;
  //   b: column g at rows 2q and 2q + 1, then at 8 more;
  //   sums: row g at columns 2q and 2q + 1, then row g + 8.
  // (PTX ISA, "Matrix Fragments for mma.m16n8k16".)
  LOCKSTEP_DEVICE void multiply_add(Pack<float, 4>& sums, const Pack<std::uint32_t, 4>& a,
                                    const Pack<std::uint32_t, 2>& b) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }

  // The f16 number in the lower half of a word.
  LOCKSTEP_DEVICE float from_half(std::uint32_t word) {
    float number;
    asm("cvt.f32.f16 %0, %1;" : "=f"(number) : "h"(static_cast<std::uint16_t>(word)));
    return number;
  }
  // Two bf16 numbers at once, rounded to the nearest even: by the fused instruction, for sub and
  // mul of bf16x2 begin with compute capability 9.0. b * -1 + a, and a * b + -0, are rounded once.
  LOCKSTEP_DEVICE std::uint32_t subtract_pair(std::uint32_t a, std::uint32_t b) {
    return fused_pair(b, 0xbf80bf80u, a);
  }
  LOCKSTEP_DEVICE std::uint32_t multiply_pair(std::uint32_t a, std::uint32_t b) {
    return fused_pair(a, b, 0x80008000u);
  }

 private:
  LOCKSTEP_DEVICE static std::uint32_t fused_pair(std::uint32_t a, std::uint32_t b,
                                                  std::uint32_t c) {
    std::uint32_t sum;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(sum) : "r"(a), "r"(b), "r"(c));
    return sum;
  }
};

}  // namespace lockstep::kernels::cuda
