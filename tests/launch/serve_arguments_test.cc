#include "launch/serve_arguments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "kernels/cuda/visible_devices.h"

namespace lockstep::launch {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class ServeArguments : public testing::Test {
 protected:
  ServeArguments() {
    std::string pattern = (std::filesystem::temp_directory_path() / "lockstep-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  ~ServeArguments() override { std::filesystem::remove_all(folder_); }

  // Writes a configuration file; its path.
  std::string file(const std::string& text) {
    const auto path = folder_ / "serve.toml";
    std::ofstream(path) << text;
    return path.string();
  }

  ServeOptions parse(std::vector<std::string> arguments) {
    CLI::App app;
    ServeOptions options;
    bool done = false;
    add_serve_arguments(app, options, [&] { done = true; });
    std::ranges::reverse(arguments);  // CLI11 takes them from the back
    app.parse(std::move(arguments));
    EXPECT_TRUE(done);
    return options;
  }

  // What is said of arguments that are refused.
  std::string refusal(std::vector<std::string> arguments) {
    try {
      parse(std::move(arguments));
    } catch (const CLI::Error& error) {
      return error.what();
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  }
  std::string refusal_of_file(const std::string& text) {
    return refusal({"m.gguf", "--config", file(text)});
  }

  std::filesystem::path folder_;
};

TEST_F(ServeArguments, LeaveDefaultsWhereNothingIsSaid) {
  const ServeOptions options = parse({"m.gguf"});
  EXPECT_EQ(options.model, "m.gguf");
  EXPECT_EQ(options.http, "");
  EXPECT_EQ(options.zmq, "tcp://127.0.0.1:5555");
  EXPECT_EQ(options.max_num_seqs, 64);
  EXPECT_EQ(options.max_num_batched_tokens, std::nullopt);
  EXPECT_EQ(options.num_speculative_tokens, std::nullopt);
  EXPECT_EQ(options.deadline, std::chrono::milliseconds(10000));
  EXPECT_EQ(options.request_timeout, std::chrono::minutes(10));
  EXPECT_EQ(options.shutdown_timeout, std::chrono::seconds(0));
  EXPECT_EQ(options.transport, comm::Transport::automatic);
  EXPECT_EQ(options.device, Device::automatic);
  EXPECT_TRUE(options.bind);
  EXPECT_EQ(options.weight_cache, "");
  EXPECT_EQ(options.all_reduce, "auto");
  EXPECT_FALSE(options.nccl_windows);
  EXPECT_EQ(options.weights_ahead_mib, 32);
  EXPECT_EQ(options.trace.path, "");
  EXPECT_EQ(options.trace.steps, 10);
  EXPECT_EQ(options.trace.skip, 20);
}

TEST_F(ServeArguments, SetEveryOption) {
  const ServeOptions options = parse({"--model",
                                      "m",
                                      "--http",
                                      "[::1]:80",
                                      "--zmq",
                                      "ipc:///run/x",
                                      "--served-model-name",
                                      "n",
                                      "--tp",
                                      "3",
                                      "--max-num-seqs",
                                      "2",
                                      "--max-num-batched-tokens",
                                      "48",
                                      "--num-speculative-tokens",
                                      "0",
                                      "--max-model-len",
                                      "1000",
                                      "--block-size",
                                      "32",
                                      "--kv-cache-memory",
                                      "512MiB",
                                      "--gpu-memory-utilization",
                                      "0.5",
                                      "--kv-cache-dtype",
                                      "fp8",
                                      "--max-queue",
                                      "9",
                                      "--shutdown-timeout",
                                      "45",
                                      "--request-timeout-s",
                                      "3600",
                                      "--seed",
                                      "18446744073709551615",
                                      "--threads",
                                      "5",
                                      "--device",
                                      "cuda",
                                      "--weight-cache",
                                      "cache",
                                      "--bind",
                                      "none",
                                      "--transport",
                                      "shared-memory",
                                      "--kernels",
                                      "avx2",
                                      "--all-reduce",
                                      "nccl",
                                      "--nccl-windows",
                                      "--weights-ahead",
                                      "7",
                                      "--deadline-ms",
                                      "2500",
                                      "--log-level",
                                      "debug",
                                      "--trace",
                                      "t.json",
                                      "--trace-steps",
                                      "3",
                                      "--trace-skip",
                                      "0"});
  EXPECT_EQ(options.model, "m");
  EXPECT_EQ(options.http, "[::1]:80");
  EXPECT_EQ(options.zmq, "ipc:///run/x");
  EXPECT_EQ(options.served_model_name, "n");
  EXPECT_EQ(options.tensor_parallel_size, 3);
  EXPECT_EQ(options.max_num_seqs, 2);
  EXPECT_EQ(options.max_num_batched_tokens, 48);
  EXPECT_EQ(options.num_speculative_tokens, 0);
  EXPECT_EQ(options.max_model_len, 1000);
  EXPECT_EQ(options.block_size, 32);
  EXPECT_EQ(options.kv_cache_memory, 536870912u);
  EXPECT_EQ(options.gpu_memory_utilization, 0.5);
  EXPECT_EQ(options.kv_cache_dtype, KvCacheType::fp8);
  EXPECT_EQ(options.max_queue, 9);
  EXPECT_EQ(options.request_timeout, std::chrono::hours(1));
  EXPECT_EQ(options.shutdown_timeout, std::chrono::seconds(45));
  EXPECT_EQ(options.seed, 18446744073709551615u);
  EXPECT_EQ(options.threads, 5);
  EXPECT_EQ(options.device, Device::cuda);
  EXPECT_FALSE(options.bind);
  EXPECT_EQ(options.weight_cache, "cache");
  EXPECT_EQ(options.transport, comm::Transport::shared_memory);
  EXPECT_EQ(options.kernels, "avx2");
  EXPECT_EQ(options.all_reduce, "nccl");
  EXPECT_TRUE(options.nccl_windows);
  EXPECT_EQ(options.weights_ahead_mib, 7);
  EXPECT_EQ(options.deadline, std::chrono::milliseconds(2500));
  EXPECT_EQ(options.log_level, "debug");
  EXPECT_EQ(options.trace.path, "t.json");
  EXPECT_EQ(options.trace.steps, 3);
  EXPECT_EQ(options.trace.skip, 0);
}

TEST_F(ServeArguments, ReadMemoryInBytesAndInBinaryUnits) {
  const auto memory = [&](const std::string& text) {
    return parse({"m", "--kv-cache-memory", text}).kv_cache_memory;
  };
  EXPECT_EQ(memory("0"), 0u);
  EXPECT_EQ(memory("4096"), 4096u);
  EXPECT_EQ(memory("4GiB"), 4294967296u);
  EXPECT_EQ(memory("64 kb"), 65536u);
  EXPECT_EQ(memory("17179869183G"), 18446744072635809792u);  // the last that 64 bits hold
  for (const char* bad :
       {"-1", "4XB", "GiB", "", "1.5GiB", "99999999999999GiB", "17179869184GiB"}) {
    EXPECT_THAT(refusal({"m", "--kv-cache-memory=" + std::string(bad)}),
                HasSubstr("--kv-cache-memory"))
        << bad;
  }
}

TEST_F(ServeArguments, RefuseWhatIsOutOfRangeAndNameTheOption) {
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"--max-num-seqs", "0"},
      {"--max-num-seqs", "4097"},
      {"--max-num-seqs", "1.5"},
      {"--max-num-batched-tokens", "63"},  // below max_num_seqs
      {"--max-model-len", "-1"},
      {"--block-size", "24"},
      {"--block-size", "8"},
      {"--kv-cache-dtype", "int4"},
      {"--quantization", "awq"},
      {"--attention-backend", "fa2"},
      {"--all-reduce", "ring"},
      {"--products", "cutlass"},
      {"--tp", "0"},
      {"--threads", "-1"},
      {"--bind", "core"},
      {"--transport", "pigeon"},
      {"--device", "gpu"},
      {"--device", "1"},  // what a name stands for
      {"--kernels", "mmx"},
      {"--deadline-ms", "99"},
      {"--request-timeout-s", "0"},
      {"--shutdown-timeout", "-1"},
      {"--request-timeout-s", "604801"},
      {"--log-level", "loud"},
      {"--trace-steps", "0"},
      {"--trace-skip", "-1"},
      {"--seed", "-1"},
      {"--seed", "18446744073709551616"},
      {"--http", "8000"},
      {"--http", "127.0.0.1:"},
      {"--http", "127.0.0.1:65536"},
      {"--http", "127.0.0.1:80x"},
      {"--http", ":8000"},
      {"--http", "::1:8000"},
      {"--http", "127.0.0:8000"},
      {"--http", "http://localhost:8000"},
      {"--zmq", "127.0.0.1:5555"},
      {"--zmq", "inproc://x"},
      {"--zmq", "tcp://127.0.0.1"},
      {"--zmq", "tcp://127.0.0.1:"},
      {"--zmq", "tcp://127.0.0.1:99999"},
      {"--zmq", "tcp://127.0.0.1:80x"},
      {"--zmq", "tcp://:5555"},
      {"--config", "/no/such/file"}};
  for (const auto& [option, value] : bad) {
    EXPECT_THAT(refusal({"m", option, value}), HasSubstr(option)) << value;
  }
  EXPECT_THAT(refusal({}), HasSubstr("MODEL"));
  EXPECT_THAT(refusal({"m", "--max-num-sequences", "4"}), HasSubstr("--max-num-sequences"));
}

// Where nobody says how many tokens a step has, that is for the device to say: on CPUs 512, on GPUs
// 2,048. Whether ranks have GPUs is not known yet.
TEST_F(ServeArguments, RefuseMoreSequencesThanAStepOfTheDeviceHas) {
  const auto of = [&](const char* device, const char* sequences) {
    return refusal({"m", "--device", device, "--max-num-seqs", sequences});
  };
  EXPECT_THAT(of("cpu", "513"), HasSubstr("512 is below --max-num-seqs 513"));
  EXPECT_EQ(of("cuda", "2048"), "accepted");
  EXPECT_THAT(of("cuda", "2049"), HasSubstr("2048 is below --max-num-seqs 2049"));
  if (kernels::cuda::is_built_in()) {
    EXPECT_EQ(of("auto", "2048"), "accepted");
  } else {
    EXPECT_THAT(of("auto", "513"), HasSubstr("512 is below --max-num-seqs 513"));
  }
}

TEST_F(ServeArguments, TakePortsOfZeroMQ) {
  for (const char* address :
       {"tcp://127.0.0.1:65535", "tcp://*:*", "tcp://127.0.0.1:0", "tcp://[::1]:5555"}) {
    EXPECT_EQ(parse({"m", "--zmq", address}).zmq, address);
  }
  EXPECT_THAT(refusal({"m", "--zmq", "tcp://127.0.0.1:99999"}), HasSubstr("0 to 65535"));
}

TEST_F(ServeArguments, TakeTheFileWhereTheCommandLineIsSilent) {
  const std::string config = file(
      "model = \"from-file\"\nmax_num_seqs = 3\nmax-num-batched-tokens = 99\n"
      "kv_cache_memory = \"2GiB\"\ndeadline_ms = 777\nrequest_timeout_s = 30\ntransport = "
      "\"mpi\"\ntp = 2\n"
      "trace = \"t.json\"\ntrace_steps = 4\n");
  const ServeOptions options = parse({"--config", config, "--max-num-seqs", "7"});
  EXPECT_EQ(options.model, "from-file");
  EXPECT_EQ(options.max_num_seqs, 7);
  EXPECT_EQ(options.max_num_batched_tokens, 99);
  EXPECT_EQ(options.kv_cache_memory, 2147483648u);
  EXPECT_EQ(options.deadline, std::chrono::milliseconds(777));
  EXPECT_EQ(options.request_timeout, std::chrono::seconds(30));
  EXPECT_EQ(options.transport, comm::Transport::mpi);
  EXPECT_EQ(options.tensor_parallel_size, 2);
  EXPECT_EQ(options.trace.path, "t.json");
  EXPECT_EQ(options.trace.steps, 4);
  EXPECT_EQ(parse({"m", "--config", file("kv_cache_memory = 4096")}).kv_cache_memory, 4096u);
}

TEST_F(ServeArguments, NameFileLineAndKeyOfWhatTheFileHasWrong) {
  const auto names = [&](const char* line, const char* key) {
    return AllOf(HasSubstr((folder_ / "serve.toml").string() + ":" + line + ": "), HasSubstr(key));
  };
  EXPECT_THAT(refusal_of_file("\n\nmax_seqs = 4"), names("3", "max_seqs"));
  EXPECT_THAT(refusal_of_file("[serve]\nthreads = 1"), names("1", "serve"));
  EXPECT_THAT(refusal_of_file("config = \"x\""), names("1", "config"));
  EXPECT_THAT(refusal_of_file("\nmax_num_seqs = 0"), names("2", "max_num_seqs"));
  EXPECT_THAT(refusal_of_file("transport = \"pigeon\""), names("1", "transport"));
  EXPECT_THAT(refusal_of_file("threads = [1"), names("1", ""));
}

TEST_F(ServeArguments, WantTheRightTypeInTheFile) {
  const std::vector<std::string> numbers = {"\"4\"", "true", "4.5", "[4]"};
  for (const std::string& value : numbers) {
    EXPECT_THAT(refusal_of_file("max_num_seqs = " + value), HasSubstr("an integer is expected"));
    EXPECT_THAT(refusal_of_file("seed = " + value), HasSubstr("an integer is expected"));
  }
  for (const std::string value : {"4", "true", "4.5"}) {
    EXPECT_THAT(refusal_of_file("served_model_name = " + value), HasSubstr("a string is expected"));
  }
  for (const std::string value : {"1", "\"true\"", "[true]"}) {
    EXPECT_THAT(refusal_of_file("nccl_windows = " + value), HasSubstr("true or false is expected"));
  }
  EXPECT_THAT(refusal_of_file("kv_cache_memory = 0.5"), HasSubstr("512MiB"));
  EXPECT_THAT(refusal_of_file("kv_cache_memory = -1"), HasSubstr("kv_cache_memory"));
}

TEST_F(ServeArguments, RefuseAnOptionThatTheFileGivesTwice) {
  EXPECT_THAT(refusal_of_file("max_num_seqs = 3\nmax-num-seqs = 4"), HasSubstr("given twice"));
  EXPECT_THAT(refusal_of_file("tp = 2\ntensor_parallel_size = 3"), HasSubstr("given twice"));
}

TEST_F(ServeArguments, RefuseWhatTheDeviceHasNot) {
  EXPECT_THAT(refusal({"m", "--device", "cuda", "--kv-cache-dtype", "int8"}),
              HasSubstr("on GPUs there is fp8"));
  EXPECT_THAT(refusal({"m", "--device", "cpu", "--kv-cache-dtype", "fp8"}),
              HasSubstr("on CPUs there is int8"));
  EXPECT_THAT(refusal({"m", "--device", "cpu", "--quantization", "fp8"}),
              HasSubstr("fp8 is for GPUs"));
  EXPECT_EQ(refusal({"m", "--kv-cache-dtype", "fp8"}), "accepted");  // where ranks have GPUs
  EXPECT_EQ(refusal({"m", "--quantization", "fp8"}), "accepted");
  EXPECT_EQ(refusal({"m", "--attention-backend", "own"}), "accepted");
  EXPECT_EQ(refusal({"m", "--all-reduce", "peer"}), "accepted");
  EXPECT_EQ(refusal({"m", "--nccl-windows"}), "accepted");
  EXPECT_EQ(refusal({"m", "--device", "cuda", "--pp", "2"}), "accepted");
}

TEST_F(ServeArguments, TakeFlagsFromAFile) {
  EXPECT_TRUE(parse({"m", "--config", file("nccl_windows = true")}).nccl_windows);
  const std::string off = file("nccl_windows = false");
  EXPECT_FALSE(parse({"m", "--config", off}).nccl_windows);
  EXPECT_TRUE(parse({"m", "--config", off, "--nccl-windows"}).nccl_windows);
}

TEST_F(ServeArguments, TakeAShareFromAFile) {
  const auto path = file("gpu_memory_utilization = 0.75\n");
  EXPECT_EQ(parse({"m", "--config", path}).gpu_memory_utilization, 0.75);
  EXPECT_THAT(refusal_of_file("gpu_memory_utilization = \"much\"\n"), HasSubstr("number"));
}

}  // namespace
}  // namespace lockstep::launch
