// SPDX-License-Identifier: Apache-2.0
// The one place that knows which Catch2 is installed. Tests include this and nothing of Catch2.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#define FERRULE_CATCH_LISTENER EventListenerBase
#else
#include <catch2/catch.hpp>
#define FERRULE_CATCH_LISTENER TestEventListenerBase
#endif

namespace ferrule::test {
// Set by an executable whose tests cannot run everywhere: why none of them runs here, or null.
extern const char* (*skip_all)();
}  // namespace ferrule::test
