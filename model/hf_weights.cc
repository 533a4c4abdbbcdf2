#include "model/hf_weights.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "model/fail.h"
#include "model/hf_quantized_tensors.h"
#include "model/json_file.h"
#include "model/limits.h"
#include "model/safetensors.h"

namespace lockstep::model {
namespace {

// A name without any way out of the folder.
bool is_plain_name(const std::string& name) {
  return name.ends_with(".safetensors") && !name.starts_with(".") &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
}

// Shard name -> the tensors that the index places in it.
std::map<std::string, std::set<std::string>> read_index(const std::string& file) {
  const nlohmann::json parsed = read_json(file, kMaxIndexBytes);
  const JsonFields fields(parsed, file);
  const JsonFields weight_map = fields.require("weight_map", fields.object("weight_map"));
  std::map<std::string, std::set<std::string>> shards;
  for (const auto& [tensor, shard] : weight_map.value().items()) {
    const std::string name = weight_map.require(tensor, weight_map.string(tensor));
    if (!is_plain_name(name)) {
      weight_map.fail_at(tensor, in_quotes(name) + " is not the plain name of a .safetensors file");
    }
    shards[name].insert(tensor);
  }
  if (shards.empty() || shards.size() > kMaxShards) {
    fields.fail_at("weight_map", std::to_string(shards.size()) +
                                     " files; there must be between 1 and " +
                                     std::to_string(kMaxShards));
  }
  return shards;
}

void check_shard(const std::vector<Tensor>& tensors, std::set<std::string> listed,
                 const std::string& file, const std::string& index) {
  for (const Tensor& tensor : tensors) {
    if (listed.erase(tensor.name) == 0) {
      fail(file, "tensor " + in_quotes(tensor.name) + " is not listed for this file in " + index);
    }
  }
  if (!listed.empty()) {
    fail(file, "tensor " + in_quotes(*listed.begin()) + " is missing, but listed in " + index);
  }
}

struct Weights {
  std::string path;
  std::vector<MappedFile> files;
  std::vector<Tensor> tensors;
};

Weights read_single(const std::string& file) {
  std::vector<MappedFile> files;
  files.emplace_back(file);
  auto tensors = read_safetensors(files.back());
  return {file, std::move(files), std::move(tensors)};
}

Weights read_shards(const std::string& folder, const std::string& index) {
  std::vector<MappedFile> files;
  std::vector<Tensor> tensors;
  for (const auto& [name, listed] : read_index(index)) {
    files.emplace_back(folder + "/" + name);
    auto shard = read_safetensors(files.back());
    check_shard(shard, listed, files.back().path(), index);
    std::ranges::move(shard, std::back_inserter(tensors));
  }
  return {folder, std::move(files), std::move(tensors)};
}

Weights read_files(const std::string& folder) {
  const std::string single = folder + "/model.safetensors";
  if (path_exists(single)) return read_single(single);
  const std::string index = folder + "/model.safetensors.index.json";
  if (path_exists(index)) return read_shards(folder, index);
  fail(folder, "has neither model.safetensors nor model.safetensors.index.json");
}

}  // namespace

std::unique_ptr<TensorTable> read_hf_weights(const std::string& folder,
                                             const std::optional<HfQuantization>& quantization) {
  Weights weights = read_files(folder);
  auto tensors = join_quantized(std::move(weights.tensors), quantization, weights.path);
  return std::make_unique<TensorTable>(std::move(weights.path), std::move(weights.files),
                                       std::move(tensors));
}

}  // namespace lockstep::model
