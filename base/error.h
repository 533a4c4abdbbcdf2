// The two kinds of failure of this project.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>
#include <variant>

namespace lockstep {

// A fault of the system or of its files: thrown, and caught only by main, the root of a thread or
// the boundary of a request.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A fault of one request: a value that travels back to the client.
struct Fault {
  std::string code;     // OpenAI-style: "invalid_request_error", "context_length_exceeded", ...
  std::string message;  // names the field and the limit
  std::string param;    // the field at fault, empty when there is none
};

// Either a value or the reason why a request cannot have one.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}      // NOLINT: implicit on purpose
  Result(Fault fault) : state_(std::move(fault)) {}  // NOLINT: implicit on purpose

  bool ok() const { return std::holds_alternative<T>(state_); }
  explicit operator bool() const { return ok(); }

  // REQUIRES: ok().
  T& value() { return std::get<T>(state_); }
  const T& value() const { return std::get<T>(state_); }
  T& operator*() { return value(); }
  const T& operator*() const { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  // REQUIRES: !ok().
  const Fault& fault() const { return std::get<Fault>(state_); }

 private:
  std::variant<T, Fault> state_;
};

}  // namespace lockstep
