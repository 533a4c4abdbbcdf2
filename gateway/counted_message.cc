#include "gateway/counted_message.h"

#include <utility>

namespace lockstep::gateway {
namespace {

struct Counted {
  Counted(std::string bytes_in, ByteCount count_in)
      : bytes(std::move(bytes_in)), count(std::move(count_in)) {
    *count += bytes.size();
  }
  ~Counted() { *count -= bytes.size(); }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

  std::string bytes;
  ByteCount count;
};

}  // namespace

zmq::message_t counted_message(std::string bytes, ByteCount count) {
  auto counted = std::make_unique<Counted>(std::move(bytes), std::move(count));
  zmq::message_t message(
      counted->bytes.data(), counted->bytes.size(),
      [](void*, void* hint) { delete static_cast<Counted*>(hint); }, counted.get());
  static_cast<void>(counted.release());  // the message's from here on
  return message;
}

}  // namespace lockstep::gateway
