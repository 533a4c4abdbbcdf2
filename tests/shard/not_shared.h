// Ranks that share no memory.
#pragma once

#include "comm/communicator.h"

namespace lockstep::shard {

// A communicator whose ranks share no memory, as between hosts.
class NotShared final : public comm::Communicator {
 public:
  explicit NotShared(comm::Communicator& inner) : inner_(inner) {}
  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  std::string_view name() const override { return inner_.name(); }
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all,
                  std::span<const std::size_t> counts, std::string_view what) override {
    inner_.all_gather(mine, all, counts, what);
  }
  void all_to_all(std::span<const std::byte> send, std::span<const std::size_t> send_counts,
                  std::span<std::byte> received, std::span<const std::size_t> receive_counts,
                  std::string_view what) override {
    inner_.all_to_all(send, send_counts, received, receive_counts, what);
  }
  void barrier(std::string_view what) override { inner_.barrier(what); }
  std::span<std::byte> shared_memory(std::size_t, std::string_view) override { return {}; }
  std::chrono::nanoseconds time_spent() const override { return inner_.time_spent(); }

 private:
  comm::Communicator& inner_;
};

}  // namespace lockstep::shard
