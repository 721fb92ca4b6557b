// SPDX-License-Identifier: Apache-2.0
#include "engine/python_regex.h"

#include <fmt/format.h>

#include <algorithm>

namespace ferrule {
namespace {

struct Verdict {
  Code code = Code::kBadPattern;
  std::string why;
  int wildcards = 0;
};

// Whether `p` begins with `*`, `+`, `?` or a count such as `{2}`, `{2,}` and `{2,3}`.
bool IsQuantifier(std::string_view p) {
  if (p[0] != '{') return p[0] == '*' || p[0] == '+' || p[0] == '?';
  const std::string_view inner = p.substr(1, p.find('}') - 1);
  return p.find('}') != std::string_view::npos && !inner.empty() && inner[0] != ',' &&
         inner.find_first_not_of("0123456789,") == std::string_view::npos &&
         inner.find(',') == inner.rfind(',');
}

bool Fresh(std::string_view name, std::vector<std::string_view>* names) {
  if (std::find(names->begin(), names->end(), name) != names->end()) return false;
  names->push_back(name);
  return true;
}

// One pass over the pattern with classes and escapes skipped.
Verdict Scan(std::string_view p) {
  Verdict verdict;
  const auto refuse = [&](Code code, std::string why) {
    if (verdict.why.empty()) verdict = {code, std::move(why), verdict.wildcards};
  };
  std::vector<std::string_view> names;  // of groups
  bool dot = false;                     // the token before is an unescaped `.`
  bool anchor = false;                  // or an anchor
  for (size_t i = 0; i < p.size(); ++i) {
    const bool is_dot = p[i] == '.';
    bool is_anchor = p[i] == '^' || p[i] == '$';
    if (anchor && IsQuantifier(p.substr(i)))
      refuse(Code::kPythonDiffers, "a repeated anchor, which Python refuses");
    const auto next = [&](size_t n) { return i + n < p.size() ? p[i + n] : '\0'; };
    if (p[i] == '\\') {
      const char c = next(1);
      if (c >= '1' && c <= '9') refuse(Code::kUnsupportedPattern, "a back-reference");
      if (c == 'Z') refuse(Code::kUnsupportedPattern, "`\\Z`; RE2 has `\\z`");
      if (c == 'z' || c == 'C' || c == 'Q' || c == 'E' || c == 'p' || c == 'P')
        refuse(Code::kPythonDiffers, fmt::format("`\\{}`, which Python does not have", c));
      is_anchor = c == 'b' || c == 'B' || c == 'A';
      ++i;
    } else if (p[i] == '[') {
      size_t end = i + 1;
      if (end < p.size() && p[end] == '^') ++end;
      if (end < p.size() && p[end] == ']') ++end;
      while (end < p.size() && p[end] != ']') {
        if (p.substr(end, 2) == "[:")
          refuse(Code::kPythonDiffers, "`[:`, which Python reads as two characters");
        end += p[end] == '\\' ? 2 : 1;
      }
      i = end;
    } else if (p[i] == '(' && next(1) == '?') {
      const std::string_view rest = p.substr(i + 2);
      if (rest.substr(0, 1) == "=" || rest.substr(0, 1) == "!")
        refuse(Code::kUnsupportedPattern, fmt::format("look-ahead `(?{}`", rest.substr(0, 1)));
      else if (rest.substr(0, 2) == "<=" || rest.substr(0, 2) == "<!")
        refuse(Code::kUnsupportedPattern, fmt::format("look-behind `(?{}`", rest.substr(0, 2)));
      else if (rest.substr(0, 1) == ">")
        refuse(Code::kUnsupportedPattern, "an atomic group `(?>`");
      else if (rest.substr(0, 2) == "P=")
        refuse(Code::kUnsupportedPattern, "a back-reference `(?P=`");
      else if (rest.substr(0, 1) == "(")
        refuse(Code::kUnsupportedPattern, "a conditional `(?(`");
      else if (rest.substr(0, 1) == "#")
        refuse(Code::kPythonDiffers, "a comment `(?#`");
      else if (rest.substr(0, 2) == "P<" && rest.size() > 2 && rest[2] >= '0' && rest[2] <= '9')
        refuse(Code::kPythonDiffers, "a group name that begins with a digit, which Python refuses");
      else if (rest.substr(0, 2) == "P<" && !Fresh(rest.substr(0, rest.find('>')), &names))
        refuse(Code::kPythonDiffers, "a group name twice, which Python refuses");
      else if (rest.substr(0, 1) != ":" && rest.substr(0, 2) != "P<")
        refuse(Code::kPythonDiffers, fmt::format("the group `(?{}`", Printable(rest.substr(0, 1))));
    } else if (p[i] == '*' || p[i] == '+') {
      if (dot) ++verdict.wildcards;
      if (next(1) == '+') refuse(Code::kUnsupportedPattern, "a possessive quantifier");
      if (next(1) == '?') ++i;
    } else if (p[i] == '?' && next(1) == '+') {
      refuse(Code::kUnsupportedPattern, "a possessive quantifier");
    } else if (p[i] == '{') {
      const size_t end = p.find('}', i);
      const std::string_view inner =
          end == std::string_view::npos ? "" : p.substr(i + 1, end - i - 1);
      if (!inner.empty() && inner[0] == ',' &&
          inner.find_first_not_of("0123456789,") == std::string_view::npos)
        refuse(Code::kPythonDiffers, "`{,n}`, which RE2 reads as text");
      if (dot && !inner.empty() && inner.back() == ',') ++verdict.wildcards;
      if (end != std::string_view::npos && end + 1 < p.size() && p[end + 1] == '+')
        refuse(Code::kUnsupportedPattern, "a possessive quantifier");
    }
    dot = is_dot;
    anchor = is_anchor;
  }
  return verdict;
}

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
  if (pattern.empty()) return refuse(Code::kBadPattern, "an empty pattern matches everything");
  if (pattern.size() > max_bytes)
    return refuse(
        Code::kPatternCost,
        fmt::format("a pattern of {} bytes; at most {} are read", pattern.size(), max_bytes),
        kShorter);
  if (!IsUtf8(pattern)) return refuse(Code::kBadPattern, "a pattern that is not UTF-8");
  const Verdict verdict = Scan(pattern);
  if (!verdict.why.empty() && verdict.code == Code::kUnsupportedPattern)
    return refuse(verdict.code,
                  fmt::format("RE2 cannot express {} in {}", verdict.why, Quoted(pattern)),
                  "write the exception as an entry of its own");
  if (!verdict.why.empty())
    return refuse(verdict.code, fmt::format("{} uses {}", Quoted(pattern), verdict.why),
                  "write it without, or the modules as entries of their own");
  if (verdict.wildcards > max_wildcards)
    return refuse(Code::kPatternCost,
                  fmt::format("{} has {} unbounded wildcards; at most {} are read", Quoted(pattern),
                              verdict.wildcards, max_wildcards),
                  kShorter);
  auto regex = std::make_unique<RE2>(pattern, PythonRegexOptions());
  if (!regex->ok())
    return refuse(
        Code::kBadPattern,
        fmt::format("{} is no regular expression: {}", Quoted(pattern), Printable(regex->error())),
        "a sign that stands for itself has a backslash before it, in JSON two: `\\\\.`");
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

std::string ApplyRenames(std::string_view name,
                         const std::vector<std::pair<std::string, std::string>>& renames,
                         bool anywhere) {
  for (const auto& [from, to] : renames) {
    for (size_t at = 0; at + from.size() <= name.size();) {
      const bool begins = at == 0 || name[at - 1] == '.';
      const size_t end = at + from.size();
      const bool ends = end == name.size() || name[end] == '.';
      if (begins && ends && name.compare(at, from.size(), from) == 0)
        return std::string(name.substr(0, at)) + to + std::string(name.substr(end));
      if (!anywhere) break;
      const size_t dot = name.find('.', at);
      if (dot == std::string_view::npos) break;
      at = dot + 1;
    }
  }
  return std::string(name);
}

}  // namespace ferrule
