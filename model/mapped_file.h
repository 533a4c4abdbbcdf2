// A file in memory, read-only.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace lockstep::model {

// Whether there is anything at `path`. Throws Error naming the path and the system's reason when
// that cannot be told.
bool path_exists(const std::string& path);

// Maps a whole regular file; unmaps it when destroyed. Moving keeps the address of the bytes. The
// file must not shrink while it is mapped: the operating system answers that with SIGBUS.
class MappedFile {
 public:
  // Throws Error naming the path and the system's reason. An empty file maps to no bytes.
  explicit MappedFile(std::string path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return bytes_; }
  std::string_view text() const;

 private:
  std::string path_;
  std::span<const std::byte> bytes_;
};

}  // namespace lockstep::model
