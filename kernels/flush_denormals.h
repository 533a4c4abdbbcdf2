// Subnormal numbers count as zero.
#pragma once

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace lockstep::kernels {

// While it lives, this thread's arithmetic reads subnormal numbers as zero and writes zero for them:
// what the bf16 dot product of AVX-512 always does. Every thread that computes holds one, so that
// all CPU families, and sums inside and outside a kernel, give the same bits.
class FlushDenormals {
 public:
#if defined(__x86_64__)
  FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | kFlushToZero | kReadAsZero); }
  ~FlushDenormals() { _mm_setcsr(before_); }
#else
  FlushDenormals() = default;
#endif
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
#if defined(__x86_64__)
  static constexpr unsigned kFlushToZero = 0x8000;
  static constexpr unsigned kReadAsZero = 0x0040;
  unsigned before_;
#endif
};

}  // namespace lockstep::kernels
