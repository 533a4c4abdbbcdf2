// Several numbers that are loaded and stored as one: 4, 8 or 16 bytes.
#pragma once

#include <cstddef>

namespace lockstep::kernels::cuda {

template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  static_assert(sizeof(T) * N <= 16, "a thread moves at most 16 bytes at once");
  T values[N];
  constexpr T& operator[](int i) { return values[i]; }
  constexpr const T& operator[](int i) const { return values[i]; }
};

// The pack that starts at `values`. REQUIRES: aligned as a whole.
template <int N, class T>
constexpr const Pack<T, N>* as_pack(const T* values) {
  return reinterpret_cast<const Pack<T, N>*>(values);
}
template <int N, class T>
constexpr Pack<T, N>* as_pack(T* values) {
  return reinterpret_cast<Pack<T, N>*>(values);
}

}  // namespace lockstep::kernels::cuda
