// The bounds that a model's files must keep. They are far above any real model and far below what
// would exhaust memory, so that a damaged or hostile file is refused before it is believed.
#pragma once

#include <cstdint>

namespace lockstep::model {

// GGUF
inline constexpr std::uint64_t kMaxMetadataEntries = 1 << 14;
inline constexpr std::uint64_t kMaxTensors = 1 << 16;
inline constexpr std::uint64_t kMaxKeyBytes = 65535;  // GGUF specification, gguf_metadata_kv_t
inline constexpr std::uint64_t kMaxTensorNameBytes = 256;
inline constexpr std::uint64_t kMaxStringBytes = 1 << 24;
inline constexpr std::uint64_t kMinAlignment = 8;
inline constexpr std::uint64_t kMaxAlignment = 1 << 20;

// Tensors of any format
inline constexpr std::uint64_t kMaxDimensions = 4;

// JSON files
inline constexpr std::uint64_t kMaxConfigBytes = 1 << 22;
inline constexpr std::uint64_t kMaxIndexBytes = 1 << 26;
inline constexpr std::uint64_t kMaxTokenizerBytes = 1 << 28;
inline constexpr std::uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;  // the format's own limit
inline constexpr int kMaxJsonDepth = 32;
inline constexpr std::uint64_t kMaxShards = 4096;

// Hyper-parameters
inline constexpr std::int64_t kMaxLayers = 1024;
inline constexpr std::int64_t kMaxHiddenSize = 1 << 20;
inline constexpr std::int64_t kMaxIntermediateSize = 1 << 22;
inline constexpr std::int64_t kMaxHeads = 4096;
inline constexpr std::int64_t kMaxHeadDim = 4096;
inline constexpr std::int64_t kMaxVocabSize = 1 << 22;
inline constexpr std::int64_t kMaxPositions = 1 << 28;

}  // namespace lockstep::model
