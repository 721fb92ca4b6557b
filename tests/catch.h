// SPDX-License-Identifier: Apache-2.0
// The one place that knows which Catch2 is installed. Tests include this and nothing of Catch2.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif
