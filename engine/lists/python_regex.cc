// SPDX-License-Identifier: Apache-2.0
#include "engine/lists/python_regex.h"

#include <fmt/format.h>

#include "engine/lists/python_pattern.h"

namespace ferrule {
namespace {

constexpr char kBackslash[] =
    "a sign that stands for itself has a backslash before it, in JSON two: `\\\\.`";
constexpr char kShorter[] = "write several shorter patterns, or the names themselves";

}  // namespace

RE2::Options PythonRegexOptions() {
  RE2::Options options;
  options.set_log_errors(false);
  options.set_dot_nl(false);
  options.set_max_mem(8 << 20);
  return options;
}

std::unique_ptr<RE2> CompilePythonRegex(const std::string& pattern, size_t max_bytes,
                                        int max_program, int max_wildcards, const Location& at,
                                        Diagnostics* out) {
  const auto refuse = [&](Code code, std::string message, std::string help = {}) {
    out->Add(code, std::move(message), at).Help(std::move(help));
    return nullptr;
  };
  const auto none = [&](const std::string& why) {
    return fmt::format("{} is no regular expression: {}", Quoted(pattern), why);
  };
  if (pattern.empty()) return refuse(Code::kBadPattern, "an empty pattern matches everything");
  if (pattern.size() > max_bytes)
    return refuse(
        Code::kPatternCost,
        fmt::format("a pattern of {} bytes; at most {} are read", pattern.size(), max_bytes),
        kShorter);
  if (!IsUtf8(pattern)) return refuse(Code::kBadPattern, "a pattern that is not UTF-8");
  const PythonPattern read = TranslatePythonPattern(pattern, PythonModule::kRe);
  using State = PythonPattern::State;
  if (read.state == State::kUnsupported)
    return refuse(Code::kUnsupportedPattern,
                  fmt::format("RE2 cannot express {} in {}", read.why, Quoted(pattern)),
                  "write the exception as an entry of its own");
  if (read.state != State::kOk) return refuse(Code::kBadPattern, none(read.why), kBackslash);
  if (!read.differs.empty())
    return refuse(Code::kPythonDiffers, fmt::format("{} uses {}", Quoted(pattern), read.differs),
                  "write it without, or the modules as entries of their own");
  if (read.wildcards > max_wildcards)
    return refuse(Code::kPatternCost,
                  fmt::format("{} has {} unbounded wildcards; at most {} are read", Quoted(pattern),
                              read.wildcards, max_wildcards),
                  kShorter);
  auto regex = std::make_unique<RE2>(pattern, PythonRegexOptions());
  if (!regex->ok()) return refuse(Code::kBadPattern, none(Printable(regex->error())), kBackslash);
  if (regex->ProgramSize() > max_program)
    return refuse(Code::kPatternCost,
                  fmt::format("{} compiles to {} steps; at most {} are read", Quoted(pattern),
                              regex->ProgramSize(), max_program),
                  kShorter);
  return regex;
}

bool MatchesEverything(const RE2& regex) {
  for (const re2::StringPiece name : {"", "\x01", "~.0"})
    if (!regex.Match(name, 0, name.size(), RE2::ANCHOR_START, nullptr, 0)) return false;
  return true;
}

}  // namespace ferrule
