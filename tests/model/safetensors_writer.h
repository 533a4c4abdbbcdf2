// Builds safetensors files byte by byte, right or wrong.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "tests/model/gguf_writer.h"

namespace lockstep::model {

struct SafetensorsWriter {
  // An ordered header, so that a test knows which tensor comes first.
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  std::string data;

  void add(const std::string& name, const std::string& dtype, std::vector<std::int64_t> shape,
           std::string_view bytes) {
    header[name] = {{"dtype", dtype},
                    {"shape", std::move(shape)},
                    {"data_offsets", {data.size(), data.size() + bytes.size()}}};
    data += bytes;
  }

  std::string build() const { return wrap(header.dump(), data); }

  // The header is padded with spaces to a multiple of 8 bytes, as the format's own writer does.
  static std::string wrap(std::string header, std::string_view data) {
    header.resize((header.size() + 7) / 8 * 8, ' ');
    return bytes_of<std::uint64_t>(header.size()).append(header).append(data);
  }
};

}  // namespace lockstep::model
