// Asserts what an Error says.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"

namespace lockstep::model {

// Runs `action`, which must throw Error with a message that holds every one of `parts`.
template <class Action>
void expect_error(Action action, const std::vector<std::string>& parts) {
  try {
    action();
  } catch (const Error& error) {
    for (const std::string& part : parts) EXPECT_THAT(error.what(), testing::HasSubstr(part));
    return;
  }
  ADD_FAILURE() << "no error that says: " << testing::PrintToString(parts);
}

}  // namespace lockstep::model
