// SentencePiece's way to write text: U+2581, a lower block, for each space.
#pragma once

#include <string>
#include <string_view>

namespace lockstep::model {

inline constexpr std::string_view kMetaspace = "\xE2\x96\x81";

// Appends `text` with U+2581 for each space.
void append_metaspaced(std::string_view text, std::string& metaspaced);

// `text` with a space for each U+2581.
std::string from_metaspace(std::string_view text);

}  // namespace lockstep::model
