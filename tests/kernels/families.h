// Tests of every CPU family, skipped by name where the machine lacks it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "kernels/cpu_family.h"

namespace lockstep::kernels {

inline const std::vector<CpuFamily> kAllFamilies{
    CpuFamily::scalar, CpuFamily::avx2, CpuFamily::avx512, CpuFamily::avx512_bf16, CpuFamily::amx};

inline bool is_supported(CpuFamily family) {
  const auto supported = supported_families();
  return std::ranges::find(supported, family) != supported.end();
}

// A test of the operations of one family.
class FamilyTest : public testing::TestWithParam<CpuFamily> {
 protected:
  void SetUp() override {
    if (!is_supported(GetParam())) GTEST_SKIP() << "this machine has no " << name(GetParam());
  }

  const cpu::KernelTable& table_ = kernel_table(GetParam());
  const cpu::KernelTable& scalar_ = kernel_table(CpuFamily::scalar);
};

inline std::string family_name(const testing::TestParamInfo<CpuFamily>& info) {
  return std::string(name(info.param));
}

}  // namespace lockstep::kernels
