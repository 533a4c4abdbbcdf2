// What tests of CPU families share: activations in all their forms, and the families that there
// are.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cpu_family.h"
#include "tests/kernels/emulated_unit/emulated_unit.h"
#include "tests/kernels/random_values.h"

namespace lockstep::kernels {

// Activations in all their forms.
struct Activations {
  Activations(const cpu::KernelTable& table, const std::vector<float>& x, std::int64_t m,
              std::int64_t k, bool with_wide_groups = true)
      : values(x),
        halves(x.size()),
        half_sums(x.size() / 32),
        bytes(x.size()),
        low_bytes(x.size()),
        scales(x.size() / 32),
        offsets(x.size() / 32),
        biases(x.size() / 32),
        low_biases(x.size() / 32),
        wide(x.size() / 32),
        tiles(static_cast<std::size_t>((m + 15) / 16 * 16 * k)),
        columns(k),
        has_wide_groups(with_wide_groups) {
    table.quantize_rows(view(), m, k);
    table.round_rows(view(), m, k);
    if (table.tile_rows != nullptr) table.tile_rows(view(), m, k);
  }
  cpu::ActivationRows view() {
    return {values.data(),
            columns,
            halves.data(),
            columns,
            half_sums.data(),
            {bytes.data(), low_bytes.data(), columns, scales.data(), offsets.data(), biases.data(),
             low_biases.data(), wide.data(), columns / 32, has_wide_groups},
            {tiles.data(), 16 * columns}};
  }
  std::vector<float> values;
  std::vector<std::uint16_t> halves;
  std::vector<float> half_sums;
  std::vector<std::int8_t> bytes, low_bytes;
  std::vector<float> scales, offsets;
  std::vector<std::int32_t> biases, low_biases;
  std::vector<std::uint8_t> wide;
  std::vector<std::uint16_t> tiles;
  std::int64_t columns;
  bool has_wide_groups;
};

// All families that this machine runs, and the kernels for a matrix unit where it can be emulated:
// those that multiply weights in this layout.
inline std::vector<const cpu::KernelTable*> tables_for(PackedLayout layout) {
  std::vector<const cpu::KernelTable*> tables;
  for (const CpuFamily family : supported_families()) tables.push_back(&kernel_table(family));
  if (can_emulate_unit()) tables.push_back(&emulated_unit_table());
  if (layout == PackedLayout::rows) {
    std::erase_if(tables,
                  [](const auto* table) { return table->bf16_layout != PackedLayout::rows; });
  }
  return tables;
}

}  // namespace lockstep::kernels
