#include "launch/serve.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <optional>
#include <thread>

#include "comm/activity.h"
#include "comm/host_address.h"
#include "comm/mpi_environment.h"
#include "comm/plan_bus.h"
#include "comm/random_token.h"
#include "comm/watchdog.h"
#include "kernels/cpu_family.h"
#include "launch/argument_checks.h"
#include "launch/descriptor_limit.h"
#include "launch/device.h"
#include "launch/front.h"
#include "launch/gpu_shard.h"
#include "launch/host_topology.h"
#include "launch/kernel_choice.h"
#include "launch/model_text.h"
#include "launch/pipeline.h"
#include "launch/port_check.h"
#include "launch/replica_labels.h"
#include "launch/replica_sizes.h"
#include "launch/step_loop.h"
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
  const std::string wrong = check_unsigned(text);
  const std::uint64_t epoch = wrong.empty() ? std::stoull(text) : 0;
  if (epoch == 0) {
    throw Error("LOCKSTEP_EPOCH is '" + std::string(text) +
                "': it must be an integer from 1 to 18446744073709551615");
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

// Why the replica cannot run on GPUs whatever there is; "": it can.
std::string obstacle_to_cuda(const ServeOptions& options) {
  if (options.kv_cache_dtype == KvCacheType::int8) return "--kv-cache-dtype int8 is for CPUs";
  return "";
}

// Throws Error for what an option asks for that only GPUs have.
void require_cpu_options(const ServeOptions& options) {
  if (options.quantization != "none") {
    throw Error("--quantization " + options.quantization + " is for GPUs, and there are none");
  }
  if (options.products != "own") {
    throw Error("--products " + options.products + " is for GPUs, and there are none");
  }
  if (options.attention_backend == "flashinfer" || options.attention_backend == "fa3") {
    throw Error("--attention-backend " + options.attention_backend +
                " is for GPUs, and there are none");
  }
  if (options.all_reduce != "auto") {
    throw Error("--all-reduce " + options.all_reduce + " is for GPUs, and there are none");
  }
  if (options.nccl_windows) throw Error("--nccl-windows is for GPUs, and there are none");
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

// What has been logged is written, and all ranks end. The logger stays: other threads may be in it.
[[noreturn]] void end_job(const comm::MpiEnvironment& mpi, int status) {
  spdlog::default_logger()->flush();
  mpi.abort(status);
}

// The ranks of a stage; nullptr where that is all ranks.
std::unique_ptr<comm::Communicator> make_stage_communicator(const ServeOptions& options,
                                                            const comm::MpiEnvironment& mpi,
                                                            const RankPlace& place) {
  if (place.stage.count == 1) return nullptr;
  return comm::make_communicator(mpi, place.stage_ranks, options.transport,
                                 collective_deadline(options));
}

// On rank 0, before anything is loaded: what is wrong there ends the job at once.
std::optional<ModelText> read_text(const model::Model& model, const comm::MpiEnvironment& mpi) {
  return mpi.rank() == 0 ? std::optional<ModelText>(std::in_place, model) : std::nullopt;
}

// The most that a stage sends the next one in a step of so many tokens.
std::size_t activation_bytes(std::int32_t tokens, const model::ModelConfig& config) {
  return static_cast<std::size_t>(tokens * config.hidden_size) * sizeof(float);
}

// One rank: its shard, and on rank 0 the coordinator and the gateway as well.
class Rank {
 public:
  // `possible`: what this rank could compute on.
  Rank(const ServeOptions& options, const comm::MpiEnvironment& mpi, Device possible)
      : options_(options),
        mpi_(mpi),
        loading_signals_(std::in_place, [this](int signal) { leave_loading(signal); }),
        epoch_(epoch_of_environment()),
        timeline_(make_timeline(options, mpi)),
        model_(model::open_model(options.model)),
        text_(read_text(model_, mpi)),
        place_(place_in_pipeline(mpi.rank(), mpi.size(), options.tensor_parallel_size,
                                 options.pipeline_parallel_size, model_.config)),
        parts_(shard::partition_model(model_.config, place_.stage_ranks.size, place_.layers)),
        world_(comm::make_communicator(mpi, options.transport, collective_deadline(options))),
        stage_(make_stage_communicator(options, mpi, place_)),
        device_(agree_on_device(possible, *world_)),
        placement_(place_this_rank(threads_of(options, device_), mpi)),
        sizes_(device_ == Device::cuda
                   ? ReplicaSizes{}
                   : settle_sizes(options, model_, place_, mpi, *world_, placement_.team.size)),
        family_(settle_family(options.kernels, *world_)),
        bus_{.endpoint = "", .epoch = epoch_, .token = mpi.broadcast(comm::random_token())},
        links_(context_, bus_, place_, mpi, *world_, collective_deadline(options),
               activation_bytes(settle_batched_tokens(options, device_), model_.config)),
        pool_(placement_.team),
        times_(stage(), tracer(), links_.previous()) {}

  void serve() {
    if (mpi_.rank() == 0) check_ports(options_);
    const auto runner = device_ == Device::cuda ? nullptr : make_runner();
    if (device_ == Device::cuda) {
      gpu_ = std::make_unique<GpuShard>(
          options_, model_, mpi_, *world_, stage(),
          shard::PipelinePlace{place_.layers, links_.previous(), links_.next()}, times_);
      sizes_ = gpu_->sizes();
    }
    // From here on there are deadlines, and loading takes some ranks longer: those whose weights
    // are not cached, say.
    mpi_.wait_for_all();
    // Once all have loaded, signals are for rank 0, which takes them back last.
    if (mpi_.rank() != 0) loading_signals_.reset();
    std::optional<comm::PrivateDirectory> directory;
    std::optional<comm::PlanPublisher> publisher;
    comm::PlanSubscriber plans(context_, open_bus(directory, publisher), mpi_.rank());
    if (mpi_.rank() == 0) publisher->wait_for_subscribers(options_.deadline);
    if (directory) directory->remove();  // all are connected: a killed rank leaves nothing behind

    std::optional<Front> front;
    std::optional<TerminationSignals> signals;
    if (mpi_.rank() == 0) {
      front.emplace(options_, sizes_, model_, *text_,
                    gpu_ ? fingerprint(model_, options_, gpu_->ways())
                         : fingerprint(model_, options_, family_),
                    gpu_ ? replica_labels(place_, options_, gpu_->ways())
                         : replica_labels(place_, cpu_ways(*runner)),
                    mpi_.size(), context_, *publisher, epoch_, tracer(),
                    [this](const std::string& what) { fail(what); });
      loading_signals_.reset();
      signals.emplace([this, &front, seen = 0](int) mutable {
        if (seen++ > 0) stop_at_once(*front);
        front->request_stop();
      });
      announce(*front);
    }
    try {
      gpu_ ? work(gpu_->steps(), plans) : work(*runner, plans);
    } catch (const std::exception& error) {
      // At once: other ranks may fail, too, and end the job.
      spdlog::critical("rank {} on {}: {}", mpi_.rank(), mpi_.host_name(), error.what());
      if (front) front->fail();
      throw;
    }
  }

  // Ends the job; callable from any thread.
  [[noreturn]] void fail(const std::string& what) const {
    spdlog::critical("rank {} on {}: {}", mpi_.rank(), mpi_.host_name(), what);
    end_job(mpi_, 1);
  }

 private:
  // A second signal: an operator's, or a launcher's that ends what a dead rank has left.
  [[noreturn]] void stop_at_once(Front& front) const {
    front.request_failure();
    std::this_thread::sleep_for(Front::kLastWords);
    fail("a second signal: stopping at once");
  }

  // There is nobody to tell yet: the job ends at once.
  [[noreturn]] void leave_loading(int signal) const {
    spdlog::warn("rank {} on {}: {} before the server was ready: stopping at once", mpi_.rank(),
                 mpi_.host_name(), signal == SIGINT ? "SIGINT" : "SIGTERM");
    end_job(mpi_, 128 + signal);
  }

  // What joins this rank with those that share its layers, and its part of them.
  comm::Communicator& stage() { return stage_ ? *stage_ : *world_; }
  const shard::Partition& part() const {
    return parts_[static_cast<std::size_t>(place_.rank_in_stage(mpi_.rank()))];
  }

  // Threads that launch kernels are left to the system, and with them NCCL's.
  static PlacementWish threads_of(const ServeOptions& options, Device device) {
    if (device == Device::cuda) return {.threads = 1, .bind = false};
    return {.threads = options.threads, .bind = options.bind};
  }

  CpuWays cpu_ways(const shard::LlamaRunner& runner) const {
    return {.family = family_,
            .activations = runner.activations(),
            .sums_in_place = runner.sums_in_place(),
            .threads_bound = placement_.unbound_because.empty()};
  }

  Tracer* tracer() { return timeline_ ? &timeline_->tracer() : nullptr; }

  std::unique_ptr<shard::LlamaRunner> make_runner() {
    require_cpu_options(options_);
    const kernels::PinnedThread pinned = pool_.pin_caller();  // its pages lie near its core, too
    const auto begin = std::chrono::steady_clock::now();
    auto runner = std::make_unique<shard::LlamaRunner>(
        model_,
        shard::RunnerOptions{.kv_format = cpu_kv_format(options_.kv_cache_dtype),
                             .block_size = options_.block_size,
                             .num_blocks = sizes_.num_blocks,
                             .max_batch_tokens = sizes_.max_batched_tokens,
                             .max_logits = cpu_logits(options_),
                             .max_positions = sizes_.max_model_len,
                             .activations = activation_choice(options_.activations),
                             .weight_cache = options_.weight_cache},
        stage(), pool_, kernels::kernel_table(family_), times_,
        shard::PipelinePlace{place_.layers, links_.previous(), links_.next()});
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    spdlog::info(
        "rank {} of {} on {}: {} of weights in {:.2f} s; {} kernels, {} activations, {}, {} "
        "between ranks",
        mpi_.rank(), mpi_.size(), mpi_.host_name(), mebibytes(runner->weight_bytes()),
        seconds.count(), kernels::name(family_), options_.activations, to_text(placement_),
        stage().name());
    if (place_.stage.count > 1) {
      spdlog::info("rank {}: stage {} of {}, layers {} to {} of {}", mpi_.rank(),
                   place_.stage.index, place_.stage.count, place_.layers.begin,
                   place_.layers.end - 1, model_.config.num_hidden_layers);
    }
    if (stage().size() > 1 && !runner->sums_in_place()) {
      spdlog::info("rank {}: activations are copied between ranks: {}", mpi_.rank(),
                   mpi_.one_host(place_.stage_ranks) && options_.transport != comm::Transport::mpi
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
    comm::PlanBusAddress address = bus_;
    if (mpi_.rank() == 0) {
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
    return address;
  }

  void announce(const Front& front) const {
    const std::string http = front.http_address();
    std::cout << "ready zmq=" << front.zmq_endpoint()
              << (http.empty() ? "" : " http=http://" + http) << " ranks=" << mpi_.size()
              << (place_.stage.count > 1 ? " stages=" + std::to_string(place_.stage.count) : "")
              << (gpu_ ? " device=cuda" : " device=cpu") << " threads=" << pool_.size()
              << " kernels=" << (gpu_ ? "cuda" : kernels::name(family_)) << " transport=\""
              << (stage_ ? *stage_ : *world_).name() << "\" pid=" << getpid() << std::endl;
  }

  void work(shard::LlamaRunner& runner, comm::PlanSubscriber& plans) {
    std::vector<shard::VocabRange> ranges;
    for (const auto& part : parts_) {
      ranges.push_back({part.vocabulary.begin, part.vocabulary.end});
    }
    shard::Sampler sampler(stage(), runner.vocab_range(), ranges, &pool_);
    shard::HostStepRunner steps(runner, sampler, times_, place_.stage.last());
    work(steps, plans);
  }

  void work(shard::StepRunner& steps, comm::PlanSubscriber& plans) {
    shard::Worker worker(steps, stage(),
                         {.block_size = options_.block_size,
                          .num_blocks = sizes_.num_blocks,
                          .vocab_size = static_cast<std::int32_t>(model_.config.vocab_size)},
                         times_, place_.stage);
    comm::Activity activity;
    // Collectives and the plan bus have deadlines of their own, which name the rank that is
    // missing; the watchdog is for whatever else may hang, and gives them time to speak first.
    const comm::Watchdog watchdog(activity, 2 * options_.deadline,
                                  [this](const std::string& text) { fail(text); });
    // Last: all other threads of this rank have been started, and may run anywhere.
    const kernels::PinnedThread pinned = pool_.pin_caller();
    if (gpu_) gpu_->bind_thread();
    StepLoop loop(worker, plans, activity, options_.deadline, tracer(), [this] {
      if (timeline_) timeline_->step_done();
    });
    tell_progress_of(loop);
    loop.run();
  }

  // Whoever waits for a step of this rank hears of it several times within a deadline.
  void tell_progress_of(StepLoop& loop) {
    times_.tell_progress(options_.deadline / 4, [this, &loop] {
      loop.tell_progress();
      if (links_.next() != nullptr) links_.next()->send_underway();
    });
    if (links_.previous() == nullptr) return;
    links_.previous()->on_underway([this] { times_.made_progress(Tracer::Clock::now()); });
  }

  const ServeOptions& options_;
  const comm::MpiEnvironment& mpi_;
  std::optional<TerminationSignals> loading_signals_;  // until the server is ready
  const std::uint64_t epoch_;
  const std::unique_ptr<Timeline> timeline_;  // nullptr: none was asked for
  const model::Model model_;
  const std::optional<ModelText> text_;  // of rank 0
  const RankPlace place_;
  const std::vector<shard::Partition> parts_;  // of the ranks of this stage
  const std::unique_ptr<comm::Communicator> world_;
  const std::unique_ptr<comm::Communicator> stage_;  // nullptr: the world
  const Device device_;
  const Placement placement_;
  ReplicaSizes sizes_;  // on a GPU settled when the weights are loaded
  const kernels::CpuFamily family_;
  zmq::context_t context_;
  const comm::PlanBusAddress bus_;  // without the endpoint
  StageLinks links_;
  kernels::ThreadPool pool_;
  shard::StepTimes times_;
  std::unique_ptr<GpuShard> gpu_;  // nullptr: the CPU
};

}  // namespace

int run_serve(const ServeOptions& options) {
  ignore_broken_pipes();
  block_termination_signals();
  raise_descriptor_limit();
  const comm::MpiEnvironment mpi;
  try {
    const Device possible = possible_device(options.device, obstacle_to_cuda(options), mpi);
    Rank rank(options, mpi, possible);
    rank.serve();
    return 0;
  } catch (const std::exception& error) {
    spdlog::critical("rank {} on {}: {}", mpi.rank(), mpi.host_name(), error.what());
    end_job(mpi, 1);
  }
}

}  // namespace lockstep::launch
