#include "model/model_identity.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <span>
#include <vector>

#include "base/hash.h"
#include "model/fail.h"
#include "model/mapped_file.h"

namespace lockstep::model {
namespace {

constexpr std::size_t kHeadBytes = std::size_t{16} << 20;
constexpr std::size_t kSamples = 256;
constexpr std::size_t kSampleBytes = 4096;

std::vector<std::filesystem::path> files_of(const std::string& path) {
  if (!std::filesystem::is_directory(path)) return {path};
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    const auto& file = entry.path();
    if (file.extension() == ".safetensors" || file.filename() == "config.json") {
      files.push_back(file);
    }
  }
  std::ranges::sort(files);
  return files;
}

void add_status(const std::string& path, Hash64& hash) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) fail(path, std::string("stat: ") + std::strerror(errno));
  hash.add(status.st_size).add(status.st_mtim.tv_sec).add(status.st_mtim.tv_nsec);
}

void add_contents(std::span<const std::byte> bytes, Hash64& hash) {
  hash.add(bytes.first(std::min(bytes.size(), kHeadBytes)));
  if (bytes.size() <= kHeadBytes) return;
  bytes = bytes.subspan(kHeadBytes);
  const std::size_t last = bytes.size() - std::min(bytes.size(), kSampleBytes);
  for (std::size_t i = 0; i < kSamples; ++i) {
    const std::size_t begin = i * last / (kSamples - 1);
    hash.add(bytes.subspan(begin, std::min(kSampleBytes, bytes.size() - begin)));
  }
}

}  // namespace

std::uint64_t model_identity(const std::string& path) {
  Hash64 hash;
  for (const auto& file : files_of(path)) {
    const std::string name = file.filename().string();
    hash.add(std::as_bytes(std::span(name)));
    add_status(file.string(), hash);
    add_contents(MappedFile(file.string()).bytes(), hash);
  }
  return hash.value();
}

}  // namespace lockstep::model
