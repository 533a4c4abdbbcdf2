#include "comm/client_codec.h"

#include <new>

#include "comm/field_reader.h"
#include "comm/field_writer.h"
#include "comm/sampling_fields.h"

namespace lockstep::comm {

constexpr Limit kIdLimit{.min_length = 1, .max_length = 128};
constexpr Limit kTextLimit{.max_length = std::size_t{4} << 20};
constexpr Limit kTokenLimit{.low = 0, .max_length = std::size_t{1} << 20};
constexpr Limit kNotNegative{.low = 0};
// Array elements, keys and values of one message: every field at its own limit fits.
constexpr MessageBounds kBounds{kMaxClientMessageBytes, (std::size_t{1} << 20) + 8192};

// ---- Client to server ----

// All but the seed, which is the request's own field.
template <class Io>
void client_sampling_fields(Io& io) {
  sampling_fields(io);
  io.optional("stop_token_ids", &SamplingParams::stop_token_ids, {.low = 0, .max_length = 128});
}

template <class Io>
void fields(Io& io, Type<GenerateRequest>) {
  using G = GenerateRequest;
  io.required("id", &G::id, kIdLimit);
  io.optional("prompt", &G::prompt, kTextLimit);
  io.optional("prompt_token_ids", &G::prompt_token_ids, kTokenLimit);
  io.optional("messages", &G::messages, kTextLimit);
  io.optional("template_args", &G::template_args, {.max_length = std::size_t{64} << 10});
  io.optional("add_generation_prompt", &G::add_generation_prompt);
  io.optional("add_special_tokens", &G::add_special_tokens);
  io.optional("max_tokens", &G::max_tokens, {.low = 1});
  io.optional("stop", &G::stop, {.max_length = 16, .min_item_length = 1, .max_item_length = 1024});
  io.optional("include_stop_str_in_output", &G::include_stop_str_in_output);
  io.optional("ignore_eos", &G::ignore_eos);
  io.optional("skip_special_tokens", &G::skip_special_tokens);
  io.optional("seed", &G::seed);
}

template <class Io>
void fields(Io& io, Type<CancelRequest>) {
  io.required("id", &CancelRequest::id, kIdLimit);
}

template <class Io>
void fields(Io& io, Type<StatusRequest>) {
  io.required("id", &StatusRequest::id, kIdLimit);
  io.optional("metrics", &StatusRequest::metrics);
}

// ---- Server to client ----

template <class Io>
void fields(Io& io, Type<Accepted>) {
  io.required("id", &Accepted::id);
  io.required("prompt_token_ids", &Accepted::prompt_token_ids);
  io.required("seed", &Accepted::seed);
}

template <class Io>
void fields(Io& io, Type<TokenDetail>) {
  io.required("token_id", &TokenDetail::token_id);
  io.required("token", &TokenDetail::token, Bytes{});
  io.required("logprob", &TokenDetail::logprob);
}

template <class Io>
void fields(Io& io, Type<DeltaToken>) {
  io.required("chosen", &DeltaToken::chosen);
  io.optional("top", &DeltaToken::top);
}

template <class Io>
void fields(Io& io, Type<Delta>) {
  io.required("id", &Delta::id);
  io.required("text", &Delta::text);
  io.required("token_ids", &Delta::token_ids);
  io.optional("logprobs", &Delta::logprobs);
}

template <class Io>
void fields(Io& io, Type<Usage>) {
  io.required("prompt_tokens", &Usage::prompt_tokens);
  io.required("completion_tokens", &Usage::completion_tokens);
  io.required("cached_tokens", &Usage::cached_tokens);
}

template <class Io>
void fields(Io& io, Type<Timings>) {
  io.required("queue_ms", &Timings::queue_ms);
  io.required("prefill_ms", &Timings::prefill_ms);
  io.required("decode_ms", &Timings::decode_ms);
}

template <class Io>
void fields(Io& io, Type<Done>) {
  io.required("id", &Done::id);
  io.required("finish_reason", &Done::finish_reason);
  io.optional("stop_reason", &Done::stop_reason);
  io.required("usage", &Done::usage);
  io.required("timings", &Done::timings);
  io.required("system_fingerprint", &Done::system_fingerprint);
}

template <class Io>
void fields(Io& io, Type<Fault>) {
  io.required("code", &Fault::code);
  io.required("message", &Fault::message);
  io.optional("param", &Fault::param);
}

template <class Io>
void fields(Io& io, Type<ErrorReply>) {
  io.required("id", &ErrorReply::id);
}

template <class Io>
void fields(Io& io, Type<StatusReply>) {
  using S = StatusReply;
  io.required("id", &S::id);
  io.required("healthy", &S::healthy);
  io.optional("stopping", &S::stopping);
  io.required("model", &S::model);
  io.required("version", &S::version);
  io.required("system_fingerprint", &S::system_fingerprint);
  io.required("world_size", &S::world_size);
  io.required("epoch", &S::epoch);
  io.required("steps", &S::steps);
  io.required("running", &S::running);
  io.required("waiting", &S::waiting);
  io.required("blocks_total", &S::blocks_total);
  io.required("blocks_used", &S::blocks_used);
  io.required("max_model_len", &S::max_model_len);
  io.optional("metrics", &S::metrics);
}

namespace {

std::string_view type_name(const GenerateRequest&) { return "generate"; }
std::string_view type_name(const CancelRequest&) { return "cancel"; }
std::string_view type_name(const StatusRequest&) { return "status"; }
std::string_view type_name(const Accepted&) { return "accepted"; }
std::string_view type_name(const Delta&) { return "delta"; }
std::string_view type_name(const Done&) { return "done"; }
std::string_view type_name(const ErrorReply&) { return "error"; }
std::string_view type_name(const StatusReply&) { return "status"; }

// Two structs lie flat in their message's own map.
template <class T>
void write_flat_part(MapWriter&, const T&) {}
void write_flat_part(MapWriter& map, const GenerateRequest& request) {
  FieldWriter<SamplingParams> writer(map, request.sampling);
  client_sampling_fields(writer);
}
void write_flat_part(MapWriter& map, const ErrorReply& reply) { write_fields(map, reply.fault); }

template <class T>
void read_flat_part(MapReader&, T&) {}
void read_flat_part(MapReader& map, GenerateRequest& request) {
  FieldReader<SamplingParams> reader(map, request.sampling);
  client_sampling_fields(reader);
}
void read_flat_part(MapReader& map, ErrorReply& reply) { read_fields(map, reply.fault); }

// What no single field can tell.
template <class T>
void check_whole(const T&) {}
void check_whole(const GenerateRequest& request) {
  const int inputs = request.prompt.has_value() + request.prompt_token_ids.has_value() +
                     request.messages.has_value();
  if (inputs != 1) {
    throw FieldFault{"prompt",
                     "exactly one of 'prompt', 'prompt_token_ids' and 'messages' must be "
                     "set, not " +
                         std::to_string(inputs)};
  }
  if (request.template_args && !request.messages) {
    throw FieldFault{"template_args", "'template_args' needs 'messages'"};
  }
  if (request.max_tokens && request.sampling.min_tokens > *request.max_tokens) {
    throw FieldFault{"min_tokens", "'min_tokens' is " +
                                       std::to_string(request.sampling.min_tokens) +
                                       ", must be at most max_tokens, which is " +
                                       std::to_string(*request.max_tokens)};
  }
}

template <class Variant>
std::string encode_variant(const Variant& message) {
  return std::visit(
      [](const auto& body) {
        MapWriter map;
        map.entry("type", type_name(body));
        write_fields(map, body);
        write_flat_part(map, body);
        return map.message();
      },
      message);
}

template <class Body, class Variant>
bool read_as(MapReader& map, std::string_view type, Variant& message) {
  Body body;
  if (type != type_name(body)) return false;
  read_fields(map, body);
  read_flat_part(map, body);
  map.finish();
  check_whole(body);
  message = std::move(body);
  return true;
}

template <class... Bodies>
Result<std::variant<Bodies...>> decode_variant(std::span<const std::byte> bytes) try {
  const msgpack::object_handle handle = parse_message(bytes, kBounds);
  const Path root;
  MapReader map(handle.get(), root);
  const Path type_path{&root, "type"};
  const msgpack::object* type_object = map.take("type");
  if (type_object == nullptr) fault_at(type_path, "is required");
  std::string type;
  read_value(*type_object, type, Limit{.max_length = 32}, type_path);
  std::variant<Bodies...> message;
  if (!(read_as<Bodies>(map, type, message) || ...)) {
    fault_at(type_path, "is '" + type + "', which is no known message");
  }
  return message;
} catch (const FieldFault& fault) {
  return Fault{"invalid_request_error", fault.message, fault.field};
} catch (const std::bad_alloc&) {
  return Fault{"invalid_request_error", "the message needs more memory than there is", ""};
}

}  // namespace

std::string encode(const ClientMessage& message) { return encode_variant(message); }
std::string encode(const ServerMessage& message) { return encode_variant(message); }

Result<ClientMessage> decode_client_message(std::span<const std::byte> bytes) {
  return decode_variant<GenerateRequest, CancelRequest, StatusRequest>(bytes);
}

Result<ServerMessage> decode_server_message(std::span<const std::byte> bytes) {
  return decode_variant<Accepted, Delta, Done, ErrorReply, StatusReply>(bytes);
}

std::string readable_id(std::span<const std::byte> bytes) try {
  const msgpack::object_handle handle = parse_message(bytes, kBounds);
  const Path root;
  std::string id;
  if (const msgpack::object* from = MapReader(handle.get(), root).take("id")) {
    read_value(*from, id, kIdLimit, root);
  }
  return id;
} catch (const FieldFault&) {
  return "";
}

}  // namespace lockstep::comm
