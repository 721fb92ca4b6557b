// SPDX-License-Identifier: Apache-2.0
// Precompiled for the test executables: Catch2 2.13 takes seconds to parse in every file.
#include "tests/catch.h"
