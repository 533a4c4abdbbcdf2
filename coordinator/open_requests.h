// The requests whose answers are not over.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "coordinator/answer.h"
#include "coordinator/request_times.h"

namespace lockstep::coordinator {

struct OpenRequest {
  std::uint64_t sequence_id = 0;
  std::string client;  // identity of the connection it came by
  std::string id;      // the client's own name for it
  std::int32_t num_prompt_tokens = 0;
  std::optional<Answer> answer;    // nothing: it is not accepted yet
  Clock::time_point last_message;  // to its client
  RequestTimes times;
};

// Invariant: (client, id) and sequence_id each name one request; ids of different clients never
// meet.
class OpenRequests {
 public:
  // REQUIRES: neither its sequence id nor its (client, id) is open.
  void add(OpenRequest request);
  // nullptr when there is none.
  OpenRequest* find(std::uint64_t sequence_id);
  OpenRequest* find(const std::string& client, const std::string& id);
  // REQUIRES: it is open. References to it end here.
  void remove(std::uint64_t sequence_id);

  std::size_t size() const { return requests_.size(); }
  // The sequence ids of one client's requests, and of all.
  std::vector<std::uint64_t> of_client(const std::string& client) const;
  std::vector<std::uint64_t> all() const;

 private:
  std::unordered_map<std::uint64_t, OpenRequest> requests_;
  std::map<std::pair<std::string, std::string>, std::uint64_t> by_name_;  // (client, id)
};

}  // namespace lockstep::coordinator
