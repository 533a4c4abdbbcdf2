#include "coordinator/open_requests.h"

namespace lockstep::coordinator {

void OpenRequests::add(OpenRequest request) {
  const std::uint64_t sequence_id = request.sequence_id;
  by_name_.emplace(std::pair(request.client, request.id), sequence_id);
  requests_.emplace(sequence_id, std::move(request));
}

OpenRequest* OpenRequests::find(std::uint64_t sequence_id) {
  const auto request = requests_.find(sequence_id);
  return request == requests_.end() ? nullptr : &request->second;
}

OpenRequest* OpenRequests::find(const std::string& client, const std::string& id) {
  const auto name = by_name_.find({client, id});
  return name == by_name_.end() ? nullptr : find(name->second);
}

void OpenRequests::remove(std::uint64_t sequence_id) {
  const auto request = requests_.find(sequence_id);
  by_name_.erase({request->second.client, request->second.id});
  requests_.erase(request);
}

std::vector<std::uint64_t> OpenRequests::of_client(const std::string& client) const {
  std::vector<std::uint64_t> ids;
  for (auto name = by_name_.lower_bound({client, ""});
       name != by_name_.end() && name->first.first == client; ++name) {
    ids.push_back(name->second);
  }
  return ids;
}

std::vector<std::uint64_t> OpenRequests::all() const {
  std::vector<std::uint64_t> ids;
  for (const auto& [name, sequence_id] : by_name_) ids.push_back(sequence_id);
  return ids;
}

}  // namespace lockstep::coordinator
