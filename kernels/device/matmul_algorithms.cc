#include "kernels/device/matmul_algorithms.h"

#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <sstream>
#include <system_error>

#include "base/error.h"
#include "base/hash.h"

namespace lockstep::kernels::device {
namespace {

std::string hexadecimal(std::uint64_t word) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(word));
  return text;
}

std::string checksum(const std::string& text) {
  return hexadecimal(Hash64().add(std::as_bytes(std::span(text))).value());
}

std::string to_line(const MatmulShape& shape, const MatmulAlgorithm& algorithm) {
  std::ostringstream line;
  line << shape.n << ' ' << shape.k << ' ' << shape.x_stride << ' ' << shape.w_stride << ' '
       << shape.max_rows << ' ' << (shape.output == MatmulOutput::f32 ? "f32" : "bf16") << ' '
       << shape.same_bits << ' ' << algorithm.microseconds;
  for (const std::uint64_t word : algorithm.words) line << ' ' << hexadecimal(word);
  return line.str() + ' ' + checksum(line.str());
}

bool from_line(const std::string& text, MatmulShape& shape, MatmulAlgorithm& algorithm) {
  const std::size_t end = text.rfind(' ');
  if (end == std::string::npos || text.substr(end + 1) != checksum(text.substr(0, end))) {
    return false;
  }
  std::istringstream line(text.substr(0, end));
  std::string output;
  line >> shape.n >> shape.k >> shape.x_stride >> shape.w_stride >> shape.max_rows >> output >>
      shape.same_bits >> algorithm.microseconds >> std::hex;
  for (std::uint64_t& word : algorithm.words) line >> word;
  shape.output = output == "bf16" ? MatmulOutput::bf16 : MatmulOutput::f32;
  return !line.fail() && line.eof() && (output == "bf16" || output == "f32");
}

}  // namespace

MatmulAlgorithms::MatmulAlgorithms(std::filesystem::path file, MatmulMachine machine)
    : file_(std::move(file)), machine_(std::move(machine)), choices_(read(passed_over_)) {}

std::string MatmulAlgorithms::head() const {
  return "lockstep matmul algorithms 1\ndevice " + machine_.device + "\ndriver " +
         std::to_string(machine_.driver) + "\nlibrary " + std::to_string(machine_.library) + "\n";
}

MatmulAlgorithms::Choices MatmulAlgorithms::read(std::string& passed_over) const {
  std::ifstream in(file_, std::ios::binary);
  if (file_.empty() || !in) return {};
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  if (!text.starts_with(head())) {
    passed_over = file_.string() + " is of another version, device, driver or library";
    return {};
  }
  Choices choices;
  std::istringstream lines(text.substr(head().size()));
  int number = 4;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    MatmulShape shape;
    MatmulAlgorithm algorithm;
    if (!from_line(line, shape, algorithm)) {
      passed_over = file_.string() + ":" + std::to_string(number) + " is damaged";
      return {};
    }
    choices[shape] = algorithm;
  }
  return choices;
}

std::optional<MatmulAlgorithm> MatmulAlgorithms::find(const MatmulShape& shape) const {
  const auto found = choices_.find(shape);
  if (found == choices_.end()) return std::nullopt;
  return found->second;
}

void MatmulAlgorithms::add(const MatmulShape& shape, const MatmulAlgorithm& algorithm) {
  choices_[shape] = algorithm;
}

void MatmulAlgorithms::save() {
  if (file_.empty()) return;
  std::string ignored;  // a file that is passed over is replaced
  choices_.merge(read(ignored));
  const std::string temporary = file_.string() + "." + std::to_string(getpid());
  {
    std::ofstream out(temporary, std::ios::binary);
    out << head();
    for (const auto& [shape, algorithm] : choices_) out << to_line(shape, algorithm) << '\n';
    out.close();
    if (!out) throw Error(temporary + ": cannot be written");
  }
  std::error_code error;
  std::filesystem::rename(temporary, file_, error);
  if (error) throw Error(file_.string() + ": cannot be replaced: " + error.message());
}

}  // namespace lockstep::kernels::device
