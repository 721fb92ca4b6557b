// SPDX-License-Identifier: Apache-2.0
// Python pattern → RE2 pattern: everything that begins with `(`.
#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "engine/lists/python_reader.h"

namespace ferrule {
namespace {

constexpr std::string_view kFlags = "aiLmsux";

bool IsFlag(char32_t c) { return c < 128 && kFlags.find(static_cast<char>(c)) != kFlags.npos; }

bool IsIdentifier(std::string_view name) {
  if (name.empty() || (name[0] >= '0' && name[0] <= '9')) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           static_cast<unsigned char>(c) >= 0x80;
  });
}

}  // namespace

std::string PythonPatternReader::Until(char32_t end, const char* what) {
  std::string text;
  for (;;) {
    const char32_t c = Next();
    if (c == kEnd) return Raise(fmt::format("missing {}", what)), std::string();
    if (c == end) break;
    if (c < 128)
      text += static_cast<char>(c);
    else
      text += "\xC2\x80";  // any letter will do: only ASCII decides whether it is a name
  }
  if (text.empty()) Raise(fmt::format("missing {}", what));
  return text;
}

PatternWidth PythonPatternReader::Close(PatternWidth width) {
  if (!failed() && !Take(')')) Raise("missing ), unterminated subpattern");
  out_.re2 += ')';
  return width;
}

PatternWidth PythonPatternReader::Capture(PatternFlags flags, const std::string& name) {
  const size_t index = groups_.size();
  groups_.push_back({name, true, {}});
  out_.re2 += "(?:";
  const PatternWidth width = Close(Alternatives(flags, false));
  groups_[index].open = false;
  groups_[index].width = width;
  return width;
}

// After `(`. `is_item` is false for what stands for nothing: comments and global flags.
PatternWidth PythonPatternReader::Group(PatternFlags flags, bool may_set_global, bool* is_item) {
  if (!Take('?')) return Capture(flags, "");
  const char32_t c = Next();
  if (c == kEnd) return Raise("unexpected end of pattern"), PatternWidth{};
  if (c == 'P') return NamedGroup(flags);
  if (c == ':') {
    out_.re2 += "(?:";
    return Close(Alternatives(flags, false));
  }
  if (c == '#') {
    *is_item = false;
    Differs("a comment `(?#`");
    for (char32_t d = Next(); d != ')'; d = Next()) {
      if (d == '\\') Next();  // `\)` does not end it
      if (d == kEnd) return Raise("missing ), unterminated comment"), PatternWidth{};
    }
    return {};
  }
  if (c == '=' || c == '!') return LookAround(flags, false);
  if (c == '<') {
    if (Peek() == '=' || Peek() == '!') return ++at_, LookAround(flags, true);
    if (!is_regex()) return Raise("unknown extension ?<"), PatternWidth{};
    const std::string name = Until('>', "group name");
    if (!failed() && !IsIdentifier(name)) Raise("bad character in group name");
    return failed() ? PatternWidth{} : Capture(flags, name);
  }
  if (c == '>') {
    Unsupported("an atomic group");
    return Close(Alternatives(flags, false));
  }
  if (c == '(') return Conditional(flags), PatternWidth{0, 4294967295};
  if (IsFlag(c) || c == '-') {
    --at_;
    Differs("flags `(?`");
    PatternFlags inner = flags;
    std::string open;
    bool global = false;
    if (!InlineFlags(flags, may_set_global, &inner, &open, &global)) return {};
    *is_item = !global;
    if (global) return {};
    out_.re2 += open;
    return Close(Alternatives(inner, false));
  }
  return Raise("unknown extension"), PatternWidth{};
}

PatternWidth PythonPatternReader::NamedGroup(PatternFlags flags) {
  if (Take('<')) {
    const std::string name = Until('>', "group name");
    if (failed()) return {};
    if (!IsIdentifier(name)) return Raise("bad character in group name"), PatternWidth{};
    const auto same = [&](const PatternGroup& group) { return group.name == name; };
    if (!is_regex() && std::any_of(groups_.begin(), groups_.end(), same))
      return Raise("redefinition of group name"), PatternWidth{};
    return Capture(flags, name);
  }
  if (Take('=')) {
    const std::string name = Until(')', "group name");
    if (failed()) return {};
    for (size_t i = 0; i < groups_.size(); ++i)
      if (groups_[i].name == name) return Reference(i + 1);
    return Raise("unknown group name"), PatternWidth{};
  }
  return Raise("unknown extension ?P"), PatternWidth{};
}

PatternWidth PythonPatternReader::LookAround(PatternFlags flags, bool behind) {
  Unsupported(behind ? "look-behind" : "look-ahead");
  if (behind && behind_++ == 0) behind_groups_ = groups_.size();
  const PatternWidth width = Alternatives(flags, false);
  if (behind) --behind_;
  Close(width);
  if (behind && width.min != width.max && !is_regex())
    Raise("look-behind requires fixed-width pattern");
  return {};
}

void PythonPatternReader::Conditional(PatternFlags flags) {
  Unsupported("a conditional");
  const std::string name = Until(')', "group name");
  if (failed()) return;
  if (IsIdentifier(name)) {
    const auto same = [&](const PatternGroup& group) { return group.name == name; };
    if (std::none_of(groups_.begin(), groups_.end(), same)) return Raise("unknown group name");
  } else {
    if (name.find_first_not_of("0123456789") != std::string::npos || name.size() > 9)
      return Raise("bad character in group name");
    const size_t group = std::stoul(name);
    if (group == 0) return Raise("bad group number");
    promised_.push_back(group);
  }
  Sequence(flags, false);
  if (Take('|')) {
    Sequence(flags, false);
    if (Peek() == '|') return Raise("conditional backref with more than two branches");
  }
  Close({});
}

// `(?aiLmsux)` for the whole pattern, `(?i-s:` for a group. False after a failure.
bool PythonPatternReader::InlineFlags(PatternFlags flags, bool may_set_global, PatternFlags* inner,
                                      std::string* open, bool* global) {
  std::string on, off;
  char32_t c = Next();
  while (c != '-' && c != ':' && c != ')') {
    if (c == kEnd) return Raise("missing -, : or )"), false;
    if (!IsFlag(c)) return Raise("unknown flag"), false;
    if (c == 'L' && is_regex()) Unsupported("the flag `L`");
    if (c == 'L' && !is_regex())
      return Raise("bad inline flags: cannot use 'L' flag with a str pattern"), false;
    on += static_cast<char>(c);
    c = Next();
  }
  if (on.find('a') != on.npos && on.find('u') != on.npos)
    return Raise("bad inline flags: flags 'a', 'u' and 'L' are incompatible"), false;
  const auto known = [](const std::string& set) {  // those that RE2 has under the same letter
    std::string out;
    for (const char f : set)
      if ((f == 'i' || f == 'm' || f == 's') && out.find(f) == out.npos) out += f;
    return out;
  };
  if (c == ')') {
    if (!may_set_global && !is_regex())
      return Raise("global flags not at the start of the expression"), false;
    if (!may_set_global) Unsupported("flags after the start");
    *global = true;
    for (const char f : known(on))
      if (global_flags_.find(f) == global_flags_.npos) global_flags_ += f;
    if (on.find('a') != on.npos) global_.ascii = true;
    if (on.find('x') != on.npos) restart_ = true;
    return true;
  }
  if (c == '-') {
    c = Next();
    if (!IsFlag(c)) return Raise(c == kEnd ? "missing flag" : "unknown flag"), false;
    while (c != ':') {
      if (c == kEnd) return Raise("missing :"), false;
      if (!IsFlag(c)) return Raise("unknown flag"), false;
      if (c == 'a' || c == 'u' || c == 'L')
        return Raise("bad inline flags: cannot turn off flags 'a', 'u' and 'L'"), false;
      off += static_cast<char>(c);
      c = Next();
    }
  }
  for (const char f : off)
    if (on.find(f) != on.npos) return Raise("bad inline flags: flag turned on and off"), false;
  inner->verbose = on.find('x') != on.npos || (flags.verbose && off.find('x') == off.npos);
  inner->ascii = on.find('a') != on.npos || (flags.ascii && on.find('u') == on.npos);
  const std::string minus = known(off);
  *open = fmt::format("(?{}{}{}:", known(on), minus.empty() ? "" : "-", minus);
  return true;
}

bool IsInexpressible(std::string_view why) {
  constexpr std::string_view kInexpressible[] = {"look-ahead",       "look-behind",
                                                 "a back-reference", "an atomic group",
                                                 "a conditional",    "a possessive quantifier"};
  return std::find(std::begin(kInexpressible), std::end(kInexpressible), why) !=
         std::end(kInexpressible);
}

PythonPattern TranslatePythonPattern(std::string_view pattern, PythonModule module) {
  bool restart = false;
  PythonPattern out = PythonPatternReader(pattern, module, false).Read(&restart);
  if (restart) out = PythonPatternReader(pattern, module, true).Read(&restart);
  return out;
}

}  // namespace ferrule
