// SPDX-License-Identifier: Apache-2.0
// A test case that cannot run here says so and ends: `return Skip("there are no two GPUs");`
#pragma once

#include <string_view>

namespace ferrule::test {

// The case that runs counts as skipped, not as passed, unless one of its checks fails. For the
// thread that runs it. `reason` is one line; the first of a case is printed.
void Skip(std::string_view reason);

}  // namespace ferrule::test
