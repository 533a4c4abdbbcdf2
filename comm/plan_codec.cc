#include "comm/plan_codec.h"

#include <type_traits>

#include "base/error.h"
#include "comm/field_reader.h"
#include "comm/field_writer.h"
#include "comm/sampling_fields.h"

namespace lockstep::comm {

template <class Io>
void fields(Io& io, Type<SamplingParams>) {
  sampling_fields(io);
  io.optional("seed", &SamplingParams::seed);
  io.optional("stop_token_ids", &SamplingParams::stop_token_ids);  // the model's own included
}

template <class Io>
void fields(Io& io, Type<SequenceStart>) {
  io.required("sequence_id", &SequenceStart::sequence_id);
  io.required("sampling", &SequenceStart::sampling);
  io.required("num_prompt_tokens", &SequenceStart::num_prompt_tokens);
  io.required("token_ids", &SequenceStart::token_ids);
}

template <class Io>
void fields(Io& io, Type<PlanEntry>) {
  io.required("sequence_id", &PlanEntry::sequence_id);
  io.required("first_position", &PlanEntry::first_position);
  io.required("num_tokens", &PlanEntry::num_tokens);
  io.optional("samples", &PlanEntry::samples);
  io.optional("max_drafts", &PlanEntry::max_drafts);
  io.optional("new_blocks", &PlanEntry::new_blocks);
}

template <class Io>
void fields(Io& io, Type<KnownToken>) {
  io.required("sequence_id", &KnownToken::sequence_id);
  io.required("token_id", &KnownToken::token_id);
}

template <class Io>
void fields(Io& io, Type<StepPlan>) {
  io.required("epoch", &StepPlan::epoch);
  io.required("sequence_number", &StepPlan::sequence_number);
  io.optional("shutdown", &StepPlan::shutdown);
  io.optional("ends", &StepPlan::ends);
  io.optional("starts", &StepPlan::starts);
  io.optional("sampled", &StepPlan::sampled);
  io.optional("entries", &StepPlan::entries);
}

template <class Io>
void fields(Io& io, Type<TokenLogprob>) {
  io.required("token_id", &TokenLogprob::token_id);
  io.required("logprob", &TokenLogprob::logprob);
}

template <class Io>
void fields(Io& io, Type<SampledToken>) {
  io.required("sequence_id", &SampledToken::sequence_id);
  io.required("token_id", &SampledToken::token_id);
  io.optional("logprob", &SampledToken::logprob);
  io.optional("top_logprobs", &SampledToken::top_logprobs);
}

template <class Io>
void fields(Io& io, Type<StepReport>) {
  io.required("epoch", &StepReport::epoch);
  io.required("sequence_number", &StepReport::sequence_number);
  io.required("rank", &StepReport::rank);
  io.optional("underway", &StepReport::underway);
  io.required("digest", &StepReport::digest);
  io.required("compute_us", &StepReport::compute_us);
  io.required("wait_us", &StepReport::wait_us);
  io.required("product_us", &StepReport::product_us);
  io.required("attention_us", &StepReport::attention_us);
  io.required("all_reduce_us", &StepReport::all_reduce_us);
  io.required("elementwise_us", &StepReport::elementwise_us);
  io.required("sampling_us", &StepReport::sampling_us);
  io.required("plan_wait_us", &StepReport::plan_wait_us);
  io.optional("rows_on_host", &StepReport::rows_on_host);
  io.optional("drafts", &StepReport::drafts);
  io.optional("accepted_drafts", &StepReport::accepted_drafts);
  io.optional("sampled", &StepReport::sampled);
}

template <class Io>
void fields(Io& io, Type<Hello>) {
  io.required("epoch", &Hello::epoch);
  io.required("rank", &Hello::rank);
  io.required("token", &Hello::token, {.max_length = 128});
}

namespace {

template <class T>
std::string encode_struct(const T& value) {
  MapWriter map;
  write_fields(map, value);
  return map.message();
}

template <class T>
T decode_struct(std::span<const std::byte> bytes, std::string_view name) try {
  const msgpack::object_handle handle = parse_message(bytes, {kMaxPlanBytes, kMaxPlanBytes});
  T value;
  read_value(handle.get(), value, Limit{}, Path{});
  return value;
} catch (const FieldFault& fault) {
  throw Error(std::string(name) + ": " + fault.message);
}

}  // namespace

std::string encode(const StepPlan& plan) { return encode_struct(plan); }
std::string encode(const StepReport& report) { return encode_struct(report); }
std::string encode(const Hello& hello) { return encode_struct(hello); }

StepPlan decode_step_plan(std::span<const std::byte> bytes) {
  return decode_struct<StepPlan>(bytes, "step plan");
}

StepReport decode_step_report(std::span<const std::byte> bytes) {
  return decode_struct<StepReport>(bytes, "step report");
}

Hello decode_hello(std::span<const std::byte> bytes) {
  return decode_struct<Hello>(bytes, "hello");
}

}  // namespace lockstep::comm
