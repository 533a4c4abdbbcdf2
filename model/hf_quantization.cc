#include "model/hf_quantization.h"

#include <algorithm>
#include <cctype>

#include "kernels/gptq_layout.h"
#include "model/fail.h"
#include "model/hf_byte_quantization.h"
#include "model/hf_quantization_fields.h"

namespace lockstep::model {
namespace {

using kernels::DType;

void require_text(const JsonFields& fields, std::string_view key, std::string_view value) {
  std::string text = fields.string(key).value_or(std::string(value));
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
  if (text != value) {
    fields.fail_at(key, in_quotes(text) + " is not supported; supported is " + std::string(value));
  }
}

void check_bits(const JsonFields& fields) {
  const auto bits = fields.require("bits", fields.integer("bits", 1, 64));
  if (bits != 4) fields.fail_at("bits", std::to_string(bits) + " is not supported; supported is 4");
}

HfQuantization read_gptq(const JsonFields& fields) {
  check_bits(fields);
  // GPTQModel calls it "format", too.
  const char* key = fields.has("checkpoint_format") ? "checkpoint_format" : "format";
  const std::string format = fields.string(key).value_or("gptq");
  if (format != "gptq" && format != "gptq_v2") {
    fields.fail_at(key, in_quotes(format) + " is not supported; supported are gptq, gptq_v2");
  }
  require_flag(fields, "is_marlin_format", false);
  require_text(fields, "pack_dtype", "int32");
  if (const auto dynamic = fields.object("dynamic"); dynamic && !dynamic->value().empty()) {
    fields.fail_at("dynamic", "layouts that differ between modules are not supported");
  }
  return {.type = DType::gptq,
          .group_size = read_group_size(fields, /*may_be_all=*/true),
          .zero_offset = format == "gptq" ? kernels::kGptqZeroOffset : 0,
          .desc_act = fields.boolean("desc_act").value_or(false)};
}

HfQuantization read_awq(const JsonFields& fields) {
  check_bits(fields);
  require_text(fields, "version", "gemm");
  require_flag(fields, "zero_point", true);
  return {.type = DType::awq, .group_size = read_group_size(fields, /*may_be_all=*/true)};
}

// The table of quantizers.
struct Method {
  std::string_view name;  // quant_method
  HfQuantization (*read)(const JsonFields& fields);
};
constexpr Method kMethods[]{{"gptq", read_gptq},
                            {"awq", read_awq},
                            {"fp8", read_fp8},
                            {"fbgemm_fp8", read_fbgemm_fp8},
                            {"compressed-tensors", read_compressed_tensors}};

const Method& read_method(const JsonFields& fields) {
  constexpr std::string_view kKey = "quant_method";
  const std::string name = fields.require(kKey, fields.string(kKey));
  std::string known;
  for (const Method& method : kMethods) {
    if (method.name == name) return method;
    known.append(known.empty() ? "" : ", ").append(method.name);
  }
  fields.fail_at(kKey, in_quotes(name) + " is not supported; supported are " + known);
}

}  // namespace

std::optional<HfQuantization> read_hf_quantization(const JsonFields& config) {
  const auto fields = config.object("quantization_config");
  if (!fields) return std::nullopt;
  return read_method(*fields).read(*fields);
}

}  // namespace lockstep::model
