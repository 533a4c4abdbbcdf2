#include "gateway/http_address.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lockstep::gateway {
namespace {

using testing::HasSubstr;

TEST(HttpAddress, IsAnIpAddressOrANameWithAPort) {
  const std::pair<std::string, HttpAddress> cases[] = {
      {"127.0.0.1:8000", {"127.0.0.1", 8000}}, {"0.0.0.0:0", {"0.0.0.0", 0}},
      {"[::1]:65535", {"::1", 65535}},         {"[::]:80", {"::", 80}},
      {"localhost:80", {"localhost", 80}},     {"node-7.cluster:80", {"node-7.cluster", 80}},
  };
  for (const auto& [text, expected] : cases) {
    const auto address = parse_http_address(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(address->host, expected.host);
    EXPECT_EQ(address->port, expected.port);
  }
}

TEST(HttpAddress, IsNothingElse) {
  for (const std::string text :
       {"", "8000", ":8000", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1",
        "127.0.0.1:8 ", "127.0.0.1:0x50", "300.0.0.1:80", "127.0.0:80", "::1:80", "[::1]", "[]:80",
        "[127.0.0.1]:80", "[::1:80", "[localhost]:80", "two words:80", "http://localhost:80"}) {
    const auto address = parse_http_address(text);
    ASSERT_FALSE(address) << text;
    EXPECT_THAT(address.fault().message, HasSubstr("'" + text + "'"));
  }
}

}  // namespace
}  // namespace lockstep::gateway
