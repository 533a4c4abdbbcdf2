#include "shard/weight_cache.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <span>
#include <system_error>
#include <vector>

#include "base/error.h"
#include "base/hash.h"
#include "model/model_identity.h"

namespace lockstep::shard {
namespace {

constexpr std::array<char, 8> kMagic{'L', 'S', 'P', 'A', 'C', 'K', 'E', 'D'};
constexpr std::uint32_t kFormatVersion = 1;
constexpr std::size_t kPayloadAt = 4096;
constexpr std::size_t kBlockBytes = std::size_t{4} << 20;

struct Header {
  std::array<char, 8> magic = kMagic;
  std::uint32_t version = kFormatVersion;
  std::uint32_t zero = 0;
  std::uint64_t digest = 0;
  std::uint64_t payload_bytes = 0;
  std::uint64_t checksum = 0;
};
static_assert(sizeof(Header) == 40);

// Why the file is not to be used, or cannot be written.
Error system_error(const char* what, int error) {
  return Error(std::string(what) + ": " + std::strerror(error));
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

// A piece of the arena and its place in the file.
struct Block {
  std::span<std::byte> bytes;
  std::size_t offset;
};

std::vector<Block> blocks_of(kernels::Arena& arena) {
  std::vector<Block> blocks;
  std::size_t offset = kPayloadAt;
  for (std::span<std::byte> run : arena.contents()) {
    while (!run.empty()) {
      blocks.push_back({run.first(std::min(run.size(), kBlockBytes)), offset});
      offset += blocks.back().bytes.size();
      run = run.subspan(blocks.back().bytes.size());
    }
  }
  return blocks;
}

std::size_t payload_bytes(const std::vector<Block>& blocks) {
  return blocks.empty() ? 0 : blocks.back().offset + blocks.back().bytes.size() - kPayloadAt;
}

// Moves all of `bytes` by calls like pread and pwrite: move(data, count, offset). Zero, or the
// error; a file that ends too early is an EIO.
template <class Move>
int move_all(std::span<std::byte> bytes, std::size_t offset, const Move& move) {
  while (!bytes.empty()) {
    const ssize_t moved = move(bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (moved < 0 && errno == EINTR) continue;
    if (moved <= 0) return moved < 0 ? errno : EIO;
    bytes = bytes.subspan(static_cast<std::size_t>(moved));
    offset += static_cast<std::size_t>(moved);
  }
  return 0;
}

// Moves all blocks, on all threads; the checksum of what is in memory afterwards. Throws Error.
template <class Move>
std::uint64_t transfer(const std::vector<Block>& blocks, kernels::ThreadPool& pool,
                       const char* what, const Move& move) {
  std::vector<std::uint64_t> hashes(blocks.size());
  std::atomic<int> error = 0;
  pool.for_ranges(static_cast<std::ptrdiff_t>(blocks.size()),
                  [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
                    for (auto i = static_cast<std::size_t>(begin);
                         i < static_cast<std::size_t>(end) && error == 0; ++i) {
                      const int failed = move_all(blocks[i].bytes, blocks[i].offset, move);
                      if (failed != 0) error = failed;
                      hashes[i] = Hash64().add(blocks[i].bytes).value();
                    }
                  });
  if (error != 0) throw system_error(what, error);
  Hash64 checksum;
  for (const std::uint64_t hash : hashes) checksum.add(hash);
  return checksum.value();
}

// Throws Error saying why the file is not to be used.
void read_file(int file, std::uint64_t digest, const std::vector<Block>& blocks,
               kernels::ThreadPool& pool) {
  const auto read = [file](void* data, std::size_t count, off_t offset) {
    return ::pread(file, data, count, offset);
  };
  struct stat status {};
  if (::fstat(file, &status) != 0) throw system_error("its size cannot be read", errno);
  const std::size_t expected = kPayloadAt + payload_bytes(blocks);
  if (static_cast<std::size_t>(status.st_size) != expected) {
    throw Error("has " + std::to_string(status.st_size) + " bytes, should have " +
                std::to_string(expected));
  }
  Header header;
  const int error = move_all(std::as_writable_bytes(std::span(&header, 1)), 0, read);
  if (error != 0) throw system_error("cannot be read", error);
  if (header.magic != kMagic) throw Error("does not hold packed weights");
  if (header.version != kFormatVersion) {
    throw Error("has version " + std::to_string(header.version) + ", this program reads " +
                std::to_string(kFormatVersion));
  }
  if (header.digest != digest) throw Error("holds other weights than its name says");
  if (header.payload_bytes != payload_bytes(blocks)) throw Error("has a damaged header");
  if (transfer(blocks, pool, "cannot be read", read) != header.checksum) {
    throw Error("is damaged: its checksum does not match");
  }
}

// A new file beside `path` that either takes its place or goes away.
class Replacement {
 public:
  explicit Replacement(std::string path)
      : path_(std::move(path)), name_(path_ + ".XXXXXX"), file_(::mkstemp(name_.data())) {
    if (file_.get() < 0) throw system_error("cannot be created", errno);
  }
  ~Replacement() {
    if (!name_.empty()) ::unlink(name_.c_str());
  }
  int file() const { return file_.get(); }

  void take_the_place() {
    if (::fchmod(file_.get(), 0644) != 0) throw system_error("cannot be made readable", errno);
    if (::rename(name_.c_str(), path_.c_str()) != 0) {
      throw system_error("cannot be renamed", errno);
    }
    name_.clear();
  }

 private:
  const std::string path_;
  std::string name_;  // empty: it has been renamed
  const Descriptor file_;
};

// Throws Error saying why not.
void write_file(const std::string& path, std::uint64_t digest, const std::vector<Block>& blocks,
                kernels::ThreadPool& pool) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  Replacement replacement(path);
  const auto write = [file = replacement.file()](const void* data, std::size_t count,
                                                 off_t offset) {
    return ::pwrite(file, data, count, offset);
  };
  Header header{.digest = digest, .payload_bytes = payload_bytes(blocks)};
  header.checksum = transfer(blocks, pool, "cannot be written", write);
  const int error = move_all(std::as_writable_bytes(std::span(&header, 1)), 0, write);
  if (error != 0) throw system_error("cannot be written", error);
  replacement.take_the_place();
}

std::string file_name(std::uint64_t digest) {
  std::array<char, 17> digits{};
  std::snprintf(digits.data(), digits.size(), "%016llx", static_cast<unsigned long long>(digest));
  return std::string(digits.data()) + ".packed";
}

void add(Hash64& hash, const Range& range) { hash.add(range.begin).add(range.end); }

}  // namespace

std::uint64_t weight_digest(const model::Model& model, const Partition& part,
                            const Packing& packing) {
  Hash64 hash;
  hash.add(model::model_identity(model.path)).add(kPackedWeightsVersion);
  add(hash, part.query_heads);
  add(hash, part.key_value_heads);
  add(hash, part.mlp_lanes);
  add(hash, part.vocabulary);
  add(hash, part.layers);
  using enum kernels::PackedFormat;
  for (const kernels::PackedFormat format : {q4, q8, f8, bf16}) {
    hash.add(static_cast<std::uint32_t>(packing.layout(format)));
  }
  return hash.value();
}

WeightCache::WeightCache(const std::string& directory, std::uint64_t digest,
                         kernels::ThreadPool& pool)
    : path_((std::filesystem::path(directory) / file_name(digest)).string()),
      digest_(digest),
      pool_(pool) {}

bool WeightCache::restore(kernels::Arena& arena) const {
  const Descriptor file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0 && errno == ENOENT) return false;
  try {
    if (file.get() < 0) throw system_error("cannot be opened", errno);
    read_file(file.get(), digest_, blocks_of(arena), pool_);
  } catch (const Error& error) {
    spdlog::warn("weight cache {}: {}; the weights are packed anew", path_, error.what());
    return false;
  }
  spdlog::info("weight cache {}: read", path_);
  return true;
}

void WeightCache::store(kernels::Arena& arena) const {
  try {
    write_file(path_, digest_, blocks_of(arena), pool_);
  } catch (const std::exception& error) {
    spdlog::warn("weight cache {}: {}; the next start will pack the weights again", path_,
                 error.what());
    return;
  }
  spdlog::info("weight cache {}: written", path_);
}

}  // namespace lockstep::shard
