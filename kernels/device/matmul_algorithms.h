// Which algorithm of the product library each shape of product takes: chosen by measurement once,
// and kept in a file. Plain C++.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

namespace lockstep::kernels::device {

enum class MatmulOutput { f32, bf16 };

// y[rows, n] = x[rows, k] * transpose(w[n, k]); x and w are bf16, all row-major.
struct MatmulShape {
  int n = 0;
  int k = 0;
  int x_stride = 0;  // elements between rows of x, at least k
  int w_stride = 0;  // elements between rows of w, at least k
  int max_rows = 0;  // the most rows in a product: what it is timed with
  MatmulOutput output = MatmulOutput::f32;
  bool same_bits = true;  // a row's result depends neither on the other rows nor on n

  auto operator<=>(const MatmulShape&) const = default;
};

struct MatmulAlgorithm {
  std::array<std::uint64_t, 8> words{};  // cublasLtMatmulAlgo_t, whose meaning is the library's
  double microseconds = 0;               // of a product of max_rows, when it was chosen

  bool operator==(const MatmulAlgorithm&) const = default;
};

// What an algorithm's words mean something for.
struct MatmulMachine {
  std::string device;         // "NVIDIA H200"
  int driver = 0;             // cudaDriverGetVersion()
  std::uint64_t library = 0;  // cublasLtGetVersion()

  bool operator==(const MatmulMachine&) const = default;
};

// The choices of one machine. One thread at a time.
//
// The file is text. Four lines of head: "lockstep matmul algorithms 1", "device <name>",
// "driver <number>", "library <number>"; then a line a shape, words parted by single spaces:
// n, k, x_stride, w_stride, max_rows, output (f32 or bf16), same_bits (0 or 1), microseconds, the
// eight words of the algorithm (16 hexadecimal digits each), and 16 hexadecimal digits of Hash64
// over the line before them. A file of another version, device, driver or library, and one with a
// line that is not as it should be, is passed over whole and written anew by the next save().
class MatmulAlgorithms {
 public:
  // Reads `file` where there is one; an empty path keeps nothing on disk. Never fails.
  MatmulAlgorithms(std::filesystem::path file, MatmulMachine machine);

  // Why a file that is there was passed over; empty if it was not.
  const std::string& passed_over() const { return passed_over_; }

  std::optional<MatmulAlgorithm> find(const MatmulShape& shape) const;
  void add(const MatmulShape& shape, const MatmulAlgorithm& algorithm);

  // Writes what was added, and what other ranks have written to the file since it was read. The
  // file is replaced in one step: a reader sees the old one or the new. Throws Error naming the
  // file.
  void save();

 private:
  using Choices = std::map<MatmulShape, MatmulAlgorithm>;
  Choices read(std::string& passed_over) const;
  std::string head() const;

  const std::filesystem::path file_;
  const MatmulMachine machine_;
  std::string passed_over_;  // before choices_, whose reading sets it
  Choices choices_;
};

}  // namespace lockstep::kernels::device
