// SPDX-License-Identifier: Apache-2.0
// What is wrong with a command line, in ferrule's words instead of the parser's.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/text/diagnostics.h"

namespace ferrule::cli {

// Accepts decimal numbers from `least` to `most`; says so otherwise.
CLI::Validator WholeNumber(int64_t least, int64_t most);
// Accepts what an int can hold: out of 1 to 1,024 is another finding (FR503) than no number at all.
CLI::Validator TpNumber();
// The same of each number of a list, 1,2,4: CLI11 passes over an empty one.
CLI::Validator TpNumbers();
// Of lists that TpNumbers accepts.
std::vector<int> ReadTpNumbers(const std::vector<std::string>& given);
CLI::Validator OneOf(std::vector<std::string> words);
// Accepts what can name a `what`, a file or a directory: not an empty word, and not `-`, which
// elsewhere means a stream.
CLI::Validator NameOf(const char* what);

// The finding (FR904) for what `app.parse` threw.
Finding Explain(const CLI::App& app, const CLI::ParseError& error);

// Whether the words ask for JSON: known before they are understood, so that a wrong command line
// is answered in JSON too.
bool AsksForJson(int argc, char** argv);

}  // namespace ferrule::cli
