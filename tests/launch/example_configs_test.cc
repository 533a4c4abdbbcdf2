// The files in configs/ can be served with as they are.
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <filesystem>

#include "launch/serve_arguments.h"

namespace lockstep::launch {
namespace {

TEST(ExampleConfigs, AreAccepted) {
  int seen = 0;
  for (const auto& entry : std::filesystem::directory_iterator("configs")) {
    if (entry.path().extension() != ".toml") continue;
    CLI::App app;
    ServeOptions options;
    add_serve_arguments(app, options, [] {});
    EXPECT_NO_THROW(app.parse("--model m --config " + entry.path().string())) << entry.path();
    EXPECT_FALSE(options.served_model_name.empty()) << entry.path();
    ++seen;
  }
  EXPECT_GE(seen, 2);
}

}  // namespace
}  // namespace lockstep::launch
