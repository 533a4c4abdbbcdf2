// The conversation in a chat request.
#pragma once

#include <string>

#include "gateway/object_reader.h"

namespace lockstep::gateway {

// Checks the member `messages` and returns it as the JSON text that chat templates expect:
// - every message has a role (system, developer, user, assistant, tool) and what the role needs;
// - a list of text parts becomes one string, its parts on lines of their own;
// - the arguments of a tool call become an object (clients send them as text), empty text an
//   empty one;
// - members that say nothing (null, empty annotations) are left out.
// Returns "" after a fault.
std::string read_messages(ObjectReader& body);

// Checks the member `tools`; returns it, or null when it is absent.
Json read_tools(ObjectReader& body);

}  // namespace lockstep::gateway
