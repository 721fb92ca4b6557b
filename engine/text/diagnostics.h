// SPDX-License-Identifier: Apache-2.0
// Findings: what is wrong or worth knowing, where, how often, with what effect and remedy.
//
// One channel for everything that a user may have to act on. A stage takes `Diagnostics*`, adds all
// that it finds and returns an empty optional when it could not produce a whole result. Levels and
// exit codes belong to the code (codes.def), not to the place that reports it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/text/result.h"
#include "engine/text/source.h"

namespace ferrule {

enum class Level : uint8_t { kNote, kWarning, kError };

enum class Code : uint16_t {
#define FERRULE_CODE(number, name, slug, level, blame, title, text) \
  name = number,  // NOLINT(bugprone-macro-parentheses): a name cannot stand in parentheses
#include "engine/text/codes.def"
#undef FERRULE_CODE
};

struct CodeInfo {
  Code code;
  const char* slug;   // real-declared-fused
  Level level;        // as reported
  Blame blame;        // exit code when level is error
  const char* title;  // one line
  const char* text;   // for `ferrule explain FRnnn`
};

const CodeInfo& Info(Code code);
// All codes in ascending order.
const std::vector<CodeInfo>& AllCodes();
// "FR301".
std::string CodeName(Code code);
std::string_view LevelName(Level level);

struct Label {  // a second place that belongs to a finding
  Location at;
  std::string text;
};

struct Finding {
  Code code;
  Level level;
  std::string message;  // one sentence, lower case, no final period, user text in backticks
  Location at;
  std::vector<Label> labels;
  // Facts under the snippet, in order: {"found", "36 tensors, e.g. …"}, {"effect", …}, {"then", …}.
  std::vector<std::pair<std::string, std::string>> facts;
  std::string help;  // one remedy, may be empty; further lines are shown as they are

  Finding(Code code, std::string message, Location at = {});
  Finding& Fact(std::string key, std::string text);
  Finding& Help(std::string text);
  Finding& Mark(Location where, std::string text);
};

// Not thread-safe. Keeps at most kMaxKept findings of each level and counts the rest.
class Diagnostics {
 public:
  static constexpr size_t kMaxKept = 100;

  // Returns the finding that was kept so that facts can be added; a scratch one when it was only
  // counted. The reference is valid until the next Add.
  Finding& Add(Finding finding);
  Finding& Add(Code code, std::string message, Location at = {});
  // Not where one with this code, message and place is kept already.
  void AddOnce(const Finding& finding);
  void Append(const Diagnostics& other);

  const std::vector<Finding>& findings() const { return findings_; }
  size_t count(Level level) const { return counts_[static_cast<size_t>(level)]; }
  bool has_errors() const { return count(Level::kError) > 0; }
  // 0 without errors, else the largest exit code among them.
  int ExitCode() const { return exit_code_; }
  // How many findings were counted but not kept.
  size_t dropped() const;

 private:
  std::vector<Finding> findings_;
  size_t counts_[3] = {0, 0, 0};
  int exit_code_ = 0;
  std::vector<Finding> scratch_;
};

// rustc-like text: code and message, place, snippet with caret, facts, help.
std::string ToHuman(const Finding& finding, bool color);
// "path:line:col: error[FR301]: message", one line.
std::string ToShort(const Finding& finding);
// All findings and the count of what was not kept.
std::string ToHuman(const Diagnostics& diagnostics, bool color);
// The first error as an Error to return from a public function; `message` holds all findings.
Error ToError(const Diagnostics& diagnostics);

}  // namespace ferrule
