// SPDX-License-Identifier: Apache-2.0
// The smallest user of the installed library: tests/install/install_test.sh builds it.
#include <ferrule/source.h>

int main() { return ferrule::NearestName("rwos", {"rows", "in"}) == "rows" ? 0 : 1; }
