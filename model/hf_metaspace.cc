#include "model/hf_metaspace.h"

#include <string>
#include <string_view>
#include <vector>

#include "model/fail.h"
#include "model/hf_steps.h"
#include "model/metaspace.h"

namespace lockstep::model {
namespace {

using nlohmann::json;

json replace_step(std::string_view from, std::string_view to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

// A space in front of every part, before those it begins with.
bool is_prepend(const json& step) {
  return step == json{{"type", "Prepend"}, {"prepend", kMetaspace}};
}

bool is_escape(const json& step) { return step == replace_step(" ", kMetaspace); }

void read_space_normalizer(const JsonFields& fields, const std::vector<json>& steps,
                           TokenizerSpec& spec) {
  constexpr std::string_view kKey = "normalizer";
  const bool prepends = !steps.empty() && is_prepend(steps.front());
  if (steps.size() != (prepends ? 2u : 1u) || !is_escape(steps.back())) {
    fields.fail_at(kKey, in_quotes(name_steps(steps)) +
                             " with these options is not supported; with byte_fallback it must be "
                             "Prepend + Replace, Replace, or null");
  }
  spec.space_prefix = prepends ? SpacePrefix::kEveryPart : SpacePrefix::kNone;
}

void read_metaspace_step(const JsonFields& fields, const std::vector<json>& steps,
                         TokenizerSpec& spec) {
  constexpr std::string_view kKey = "pre_tokenizer";
  const std::string types = name_steps(steps);
  if (types != "Metaspace") {
    fields.fail_at(kKey, in_quotes(types) +
                             " is not supported; with byte_fallback and no normalizer it must be "
                             "Metaspace");
  }
  const JsonFields step(steps[0], fields.file(), std::string(kKey) + ".");
  if (step.string("replacement") != kMetaspace) step.fail_at("replacement", "is not U+2581");
  if (step.boolean("split").value_or(true)) step.fail_at("split", "true is not supported");
  const std::string scheme = step.require("prepend_scheme", step.string("prepend_scheme"));
  if (scheme == "first") {
    spec.space_prefix = SpacePrefix::kFirstPart;
  } else if (scheme == "always") {
    spec.space_prefix = SpacePrefix::kPartsWithoutSpace;
  } else if (scheme == "never") {
    spec.space_prefix = SpacePrefix::kNone;
  } else {
    step.fail_at("prepend_scheme",
                 in_quotes(scheme) + " is not supported; supported are first, always, never");
  }
}

void read_decoder(const JsonFields& fields, TokenizerSpec& spec) {
  constexpr std::string_view kKey = "decoder";
  const std::vector<json> steps = read_steps(fields, kKey, "decoders");
  std::vector<json> expected{
      replace_step(kMetaspace, " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}};
  spec.strips_first_space = steps.size() == 4;
  if (spec.strips_first_space) {
    expected.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  if (steps != expected) {
    fields.fail_at(kKey,
                   in_quotes(name_steps(steps)) +
                       " with these options is not supported; with byte_fallback it must be "
                       "Replace + ByteFallback + Fuse, and Strip of one space at the start or "
                       "nothing");
  }
}

}  // namespace

bool falls_back_to_bytes(const JsonFields& fields) {
  const auto model = fields.object("model");
  return model && model->boolean("byte_fallback").value_or(false);
}

void read_metaspace(const JsonFields& fields, TokenizerSpec& spec) {
  const std::vector<json> normalizer = read_steps(fields, "normalizer", "normalizers");
  const std::vector<json> pre_tokenizer = read_steps(fields, "pre_tokenizer", "pretokenizers");
  if (normalizer.empty()) {
    read_metaspace_step(fields, pre_tokenizer, spec);
  } else if (pre_tokenizer.empty()) {
    read_space_normalizer(fields, normalizer, spec);
  } else {
    fields.fail_at("pre_tokenizer", in_quotes(name_steps(pre_tokenizer)) +
                                        " is not supported; with byte_fallback and a normalizer "
                                        "it must be null");
  }
  read_decoder(fields, spec);
  spec.byte_fallback = true;
}

}  // namespace lockstep::model
