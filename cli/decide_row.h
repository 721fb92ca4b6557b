// SPDX-License-Identifier: Apache-2.0
// One row of `ferrule decide`: who answers it, and whether the answer is the one that the row
// holds.
#pragma once

#include <memory>
#include <string>

#include "cli/command.h"
#include "engine/runtimes/runtime.h"
#include "engine/text/json.h"

namespace ferrule::cli {

struct RowOutcome {
  enum class Kind : uint8_t { kSkipped, kAnswered, kPassed, kFailed, kUnsupported, kKnown };
  Kind kind = Kind::kSkipped;
  std::string line;  // the row with `result` and `error`; with `expected` too where it differs
  std::string why;   // of kUnsupported: the construct
  std::string answer, expected;  // of kFailed, where both are known
};

class Decider {
 public:
  virtual ~Decider() = default;
  // The first line may be a header with named maps; true when it was one.
  virtual bool ReadHeader(const JsonValue& row) = 0;
  // `file` holds the row: findings name it without a line, which is the caller's to add.
  virtual RowOutcome Ask(const JsonValue& row, const std::string& file, Diagnostics* out) = 0;
};

// Null with a finding when `as` names no runtime. Without `as` ferrule itself answers.
std::unique_ptr<Decider> MakeDecider(const Common& common, const std::string& as, Diagnostics* out);

std::unique_ptr<Decider> MakeOwnDecider(const Common& common, RuntimeBook runtimes,
                                        Diagnostics* out);

// The members of `row` but for those that are answered, then `more`, as one JSON object.
std::string AnsweredLine(const JsonValue& row, const std::vector<std::string>& answered,
                         const std::string& more);
// "re.error: nothing to repeat at position 0" → "error".
std::string ErrorClass(std::string_view text);

}  // namespace ferrule::cli
