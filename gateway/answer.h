// What a client is sent for one call: native replies in, OpenAI's JSON out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "comm/client_message.h"
#include "gateway/openai_request.h"

namespace lockstep::gateway {

// What is the same in every object of one answer.
struct AnswerInfo {
  std::string id;  // "cmpl-..." or "chatcmpl-..."
  std::string model;
  std::int64_t created = 0;  // seconds since 1970
};

// The answer to one call. Replies come as the backend sends them, `choice` being the index of the
// call's request that each belongs to; what each function returns is to be sent at once.
class Answer {
 public:
  virtual ~Answer() = default;
  virtual std::string accepted(std::size_t choice, const comm::Accepted& reply) = 0;
  virtual std::string delta(std::size_t choice, const comm::Delta& reply) = 0;
  virtual std::string done(std::size_t choice, const comm::Done& reply) = 0;
  // REQUIRES: every choice is done.
  virtual std::string finish() = 0;
};

// Server-sent events, one a delta, or one JSON document from finish() when the call asks for no
// stream.
std::unique_ptr<Answer> make_answer(AnswerFormat format, AnswerInfo info);

// The body of an error: {"error": {message, type, param, code}}.
std::string error_body(const Fault& fault);

// The HTTP status for a fault's code: 400 for the request's own faults, 503 for what may work when
// it is tried again, 500 for a code that is not known.
int http_status(const Fault& fault);

// One server-sent event (https://html.spec.whatwg.org/multipage/server-sent-events.html). `data`
// is one line.
std::string server_sent_event(const std::string& data);

}  // namespace lockstep::gateway
