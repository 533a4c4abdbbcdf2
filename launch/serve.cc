#include "launch/serve.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <memory>
#include <optional>

#include "comm/activity.h"
#include "comm/host_address.h"
#include "comm/mpi_environment.h"
#include "comm/plan_bus.h"
#include "comm/random_token.h"
#include "comm/watchdog.h"
#include "kernels/cpu_family.h"
#include "launch/device.h"
#include "launch/front.h"
#include "launch/host_topology.h"
#include "launch/kernel_choice.h"
#include "launch/replica_sizes.h"
#include "launch/termination.h"
#include "launch/timeline.h"
#include "launch/version.h"
#include "shard/llama.h"
#include "shard/sampler.h"
#include "shard/step_times.h"
#include "shard/worker.h"

namespace lockstep::launch {
namespace {

// The life of the replica: the supervisor counts restarts in LOCKSTEP_EPOCH.
std::uint64_t epoch_of_environment() {
  const char* text = std::getenv("LOCKSTEP_EPOCH");
  if (text == nullptr) return 1;
  char* end = nullptr;
  const auto epoch = std::strtoull(text, &end, 10);
  if (*text == '\0' || *end != '\0' || epoch == 0) {
    throw Error("LOCKSTEP_EPOCH is '" + std::string(text) + "': it must be a positive number");
  }
  return epoch;
}

std::string mebibytes(std::size_t bytes) {
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
}

shard::ActivationChoice activation_choice(const std::string& name) {
  using kernels::ActivationFormat;
  if (name == "int8") return shard::ActivationChoice(ActivationFormat::int8);
  if (name == "bf16") return shard::ActivationChoice(ActivationFormat::bf16);
  if (name == "f32") return shard::ActivationChoice(ActivationFormat::f32);
  return {};
}

// What an answer's bits depend on: the device, the weights' storage types, what products make of
// activations and how keys and values are stored; of CPU families only whether it is amx.
std::string fingerprint(const model::Model& model, const ServeOptions& options,
                        kernels::CpuFamily family) {
  const auto type = [&](const char* name) {
    const auto* tensor = model.tensors->find(name);
    return tensor == nullptr ? "none" : std::string(kernels::name(tensor->dtype));
  };
  return "lockstep-" + std::string(kVersion) + "-cpu-" +
         (family == kernels::CpuFamily::amx ? "amx-" : "") +
         type("model.layers.0.mlp.up_proj.weight") + "-" + type("model.embed_tokens.weight") + "-" +
         options.activations +
         (options.kv_cache_dtype == kernels::KvFormat::int8 ? "-kv-int8" : "");
}

// A collective gives up before the coordinator misses the step's report: its error says which rank
// was where.
std::chrono::milliseconds collective_deadline(const ServeOptions& options) {
  return options.deadline * 3 / 4;
}

std::unique_ptr<Timeline> make_timeline(const ServeOptions& options,
                                        const comm::MpiEnvironment& mpi) {
  if (options.trace.path.empty()) return nullptr;
  return std::make_unique<Timeline>(options.trace, mpi.rank(), mpi.local_rank() == 0);
}

// One rank: its shard, and on rank 0 the coordinator and the gateway as well.
class Rank {
 public:
  Rank(const ServeOptions& options, const comm::MpiEnvironment& mpi)
      : options_(options),
        mpi_(mpi),
        epoch_(epoch_of_environment()),
        timeline_(make_timeline(options, mpi)),
        model_(model::open_model(options.model)),
        communicator_(
            comm::make_communicator(mpi, options.transport, collective_deadline(options))),
        sizes_(settle_sizes(options, model_.config, mpi, *communicator_)),
        family_(settle_family(options.kernels, *communicator_)),
        placement_(place_this_rank({.threads = options.threads, .bind = options.bind}, mpi)),
        pool_(placement_.team),
        times_(*communicator_, tracer()) {
    if (options.tensor_parallel_size > 0 && options.tensor_parallel_size != mpi.size()) {
      throw Error("tp is " + std::to_string(options.tensor_parallel_size) +
                  ": mpirun has started " + std::to_string(mpi.size()) +
                  " ranks, one of them each device's");
    }
  }

  void serve() {
    const auto runner = make_runner();
    // From here on there are deadlines, and loading takes some ranks longer: those whose weights
    // are not cached, say.
    mpi_.wait_for_all();
    std::optional<comm::PrivateDirectory> directory;
    std::optional<comm::PlanPublisher> publisher;
    comm::PlanBusAddress address = open_bus(directory, publisher);
    comm::PlanSubscriber plans(context_, address, mpi_.rank());
    if (mpi_.rank() == 0) publisher->wait_for_subscribers(options_.deadline);
    if (directory) directory->remove();  // all are connected: a killed rank leaves nothing behind

    std::optional<Front> front;
    std::optional<TerminationSignals> signals;
    if (mpi_.rank() == 0) {
      front.emplace(options_, sizes_, model_, fingerprint(model_, options_, family_), mpi_.size(),
                    context_, *publisher, epoch_, tracer(),
                    [this](const std::string& what) { fail(what); });
      signals.emplace([&front] { front->request_stop(); },
                      [this] { fail("a second signal: stopping at once"); });
      announce(*front);
    }
    try {
      work(*runner, plans);
    } catch (const std::exception& error) {
      // Before the front goes: its coordinator still tells the clients, misses a report meanwhile
      // and ends the job with an error that says less than this one.
      spdlog::critical("rank {} on {}: {}", mpi_.rank(), mpi_.host_name(), error.what());
      throw;
    }
  }

  // Ends the job; callable from any thread.
  [[noreturn]] void fail(const std::string& what) const {
    spdlog::critical("rank {} on {}: {}", mpi_.rank(), mpi_.host_name(), what);
    spdlog::shutdown();
    mpi_.abort(1);
  }

 private:
  Tracer* tracer() { return timeline_ ? &timeline_->tracer() : nullptr; }

  std::unique_ptr<shard::LlamaRunner> make_runner() {
    const kernels::PinnedThread pinned = pool_.pin_caller();  // its pages lie near its core, too
    const auto begin = std::chrono::steady_clock::now();
    auto runner = std::make_unique<shard::LlamaRunner>(
        model_,
        shard::RunnerOptions{.kv_format = options_.kv_cache_dtype,
                             .block_size = options_.block_size,
                             .num_blocks = sizes_.num_blocks,
                             .max_batch_tokens = options_.max_num_batched_tokens,
                             .max_sequences = options_.max_num_seqs,
                             .max_positions = sizes_.max_model_len,
                             .activations = activation_choice(options_.activations),
                             .weight_cache = options_.weight_cache},
        *communicator_, pool_, kernels::kernel_table(family_), times_);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    spdlog::info(
        "rank {} of {} on {}: {} of weights in {:.2f} s; {} kernels, {} activations, {}, {} "
        "between ranks",
        mpi_.rank(), mpi_.size(), mpi_.host_name(), mebibytes(runner->weight_bytes()),
        seconds.count(), kernels::name(family_), options_.activations, to_text(placement_),
        communicator_->name());
    if (mpi_.size() > 1 && !runner->sums_in_place()) {
      spdlog::info("rank {}: activations are copied between ranks: {}", mpi_.rank(),
                   mpi_.one_host() && options_.transport != comm::Transport::mpi
                       ? "/dev/shm has no room for them"
                       : "they share no memory");
    }
    if (options_.bind && !placement_.unbound_because.empty()) {
      spdlog::warn("rank {} on {}: threads are not bound to cores{}: {}", mpi_.rank(),
                   mpi_.host_name(), placement_.team.spin ? "" : ", and sleep whenever they wait",
                   placement_.unbound_because);
    }
    return runner;
  }

  // Binds the plan bus on rank 0 and tells every rank where it is.
  comm::PlanBusAddress open_bus(std::optional<comm::PrivateDirectory>& directory,
                                std::optional<comm::PlanPublisher>& publisher) {
    comm::PlanBusAddress address{.endpoint = "", .epoch = epoch_, .token = ""};
    if (mpi_.rank() == 0) {
      address.token = comm::random_token();
      if (mpi_.one_host()) {
        address.endpoint = directory.emplace().endpoint();
      } else {
        address.endpoint = "tcp://" + comm::address_for_other_hosts(mpi_.host_name()) + ":*";
      }
      publisher.emplace(context_, address, mpi_.size());
      address.endpoint = publisher->endpoint();
    }
    address.endpoint = mpi_.broadcast(address.endpoint);
    if (mpi_.rank() == 0) address.endpoint = comm::PlanPublisher::kOwnEndpoint;
    address.token = mpi_.broadcast(address.token);
    return address;
  }

  void announce(const Front& front) const {
    const std::string http = front.http_address();
    std::cout << "ready zmq=" << front.zmq_endpoint()
              << (http.empty() ? "" : " http=http://" + http) << " ranks=" << mpi_.size()
              << " threads=" << pool_.size() << " kernels=" << kernels::name(family_)
              << " transport=\"" << communicator_->name() << "\" pid=" << getpid() << std::endl;
  }

  comm::StepPlan receive(comm::PlanSubscriber& plans) {
    const TraceSpan span(tracer(), {"shard", "waiting", "wait for the plan"});
    return plans.receive(options_.deadline);
  }

  void work(shard::LlamaRunner& runner, comm::PlanSubscriber& plans) {
    std::vector<shard::VocabRange> ranges;
    for (const auto& part : shard::partition_model(model_.config, mpi_.size())) {
      ranges.push_back({part.vocabulary.begin, part.vocabulary.end});
    }
    shard::Sampler sampler(*communicator_, runner.vocab_range(), ranges);
    shard::Worker worker(runner, sampler, *communicator_,
                         {.block_size = options_.block_size,
                          .num_blocks = sizes_.num_blocks,
                          .vocab_size = static_cast<std::int32_t>(model_.config.vocab_size)},
                         times_);
    comm::Activity activity;
    // Collectives and the plan bus have deadlines of their own, which name the rank that is
    // missing; the watchdog is for whatever else may hang, and gives them time to speak first.
    const comm::Watchdog watchdog(activity, 2 * options_.deadline,
                                  [this](const std::string& text) { fail(text); });
    // Last: all other threads of this rank have been started, and may run anywhere.
    const kernels::PinnedThread pinned = pool_.pin_caller();
    while (true) {
      const comm::StepPlan plan = receive(plans);
      const comm::Activity::Scope scope(activity, "step", plan.sequence_number);
      plans.send(worker.execute(plan));
      if (timeline_ && !plan.entries.empty()) timeline_->step_done();
      if (plan.shutdown) return;
    }
  }

  const ServeOptions& options_;
  const comm::MpiEnvironment& mpi_;
  const std::uint64_t epoch_;
  const std::unique_ptr<Timeline> timeline_;  // nullptr: none was asked for
  const model::Model model_;
  const std::unique_ptr<comm::Communicator> communicator_;
  const ReplicaSizes sizes_;
  const kernels::CpuFamily family_;
  const Placement placement_;
  kernels::ThreadPool pool_;
  shard::StepTimes times_;
  zmq::context_t context_;
};

}  // namespace

int run_serve(const ServeOptions& options) {
  block_termination_signals();
  const comm::MpiEnvironment mpi;
  try {
    settle_device(options.device, mpi);
    Rank rank(options, mpi);
    rank.serve();
    return 0;
  } catch (const std::exception& error) {
    spdlog::critical("rank {} on {}: {}", mpi.rank(), mpi.host_name(), error.what());
    spdlog::shutdown();
    mpi.abort(1);
  }
}

}  // namespace lockstep::launch
