// SPDX-License-Identifier: Apache-2.0
#include "engine/lists/name_match.h"

#include <algorithm>
#include <utility>

#include "engine/text/source.h"

namespace ferrule {
namespace {

bool StartsWith(std::string_view text, std::string_view head) {
  return text.substr(0, head.size()) == head;
}

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

}  // namespace

bool IsAncestor(std::string_view entry, std::string_view path) {
  return StartsWith(path, entry) && (path.size() == entry.size() || path[entry.size()] == '.');
}

bool HasSegments(std::string_view entry, std::string_view path) {
  for (size_t at = path.find(entry); at != std::string_view::npos; at = path.find(entry, at + 1)) {
    const size_t end = at + entry.size();
    if ((at == 0 || path[at - 1] == '.') && (end == path.size() || path[end] == '.')) return true;
    if (at >= path.size()) break;
  }
  return false;
}

bool HasLastSegments(std::string_view entry, std::string_view path) {
  return HasSuffix(entry, path) &&
         (entry.size() == path.size() || path[path.size() - entry.size() - 1] == '.');
}

bool HasSegment(std::string_view entry, std::string_view path) {
  return entry.find('.') == std::string_view::npos && HasSegments(entry, path);
}

bool HasPrefix(std::string_view entry, std::string_view path) { return StartsWith(path, entry); }

bool HasSuffix(std::string_view entry, std::string_view path) {
  return path.size() >= entry.size() && path.substr(path.size() - entry.size()) == entry;
}

bool HasText(std::string_view entry, std::string_view path) {
  return path.find(entry) != std::string_view::npos;
}

bool HasTextNoCase(std::string_view entry, std::string_view path) {
  return std::search(path.begin(), path.end(), entry.begin(), entry.end(),
                     [](char a, char b) { return Lower(a) == Lower(b); }) != path.end() ||
         entry.empty();
}

std::string ModelOptGlob(std::string_view pattern) {
  std::string out;
  for (const char c : pattern) out += c == '.' ? "\\." : c == '*' ? ".*" : std::string(1, c);
  return out;
}

std::string_view LastSegment(std::string_view path) {
  const size_t dot = path.rfind('.');
  return dot == std::string_view::npos ? path : path.substr(dot + 1);
}

std::vector<std::string_view> Segments(std::string_view path) {
  std::vector<std::string_view> out;
  for (size_t begin = 0;;) {
    const size_t dot = path.find('.', begin);
    out.push_back(path.substr(begin, dot - begin));
    if (dot == std::string_view::npos) return out;
    begin = dot + 1;
  }
}

std::string_view StripTrailingDots(std::string_view text) {
  while (!text.empty() && text.back() == '.') text.remove_suffix(1);
  return text;
}

std::string ReplaceEvery(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  if (from.empty()) {
    out += to;
    for (const char c : text) out.append(1, c).append(to);
    return out;
  }
  size_t begin = 0;
  for (size_t at = text.find(from); at != std::string_view::npos; at = text.find(from, begin)) {
    out.append(text.substr(begin, at - begin)).append(to);
    begin = at + from.size();
  }
  return out.append(text.substr(begin));
}

std::string ReplaceFirst(std::string_view text, std::string_view from, std::string_view to) {
  const size_t at = text.find(from);
  if (at == std::string_view::npos) return std::string(text);
  return std::string(text.substr(0, at)).append(to).append(text.substr(at + from.size()));
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

PythonRegex::PythonRegex(std::string_view pattern, PythonModule module) {
  PythonPattern read = TranslatePythonPattern(pattern, module);
  why_ = std::move(read.why);
  using State = PythonPattern::State;
  overflows_ = read.state == State::kOverflows;
  if (read.state == State::kRaises || overflows_) without_ = Verdict::kRaises;
  if (read.state != State::kOk) return;
  RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(8 << 20);
  auto regex = std::make_unique<RE2>(read.re2, options);
  if (!regex->ok()) {
    why_ = regex->error();
    return;
  }
  regex_ = std::move(regex);
  ascii_only_ = read.ascii_only;
  one_line_ = read.one_line;
  if (pattern.size() > 4 && StartsWith(pattern, "(?:") && pattern.back() == ')')
    pattern = pattern.substr(3, pattern.size() - 4);  // as runtime files put it around entries
  const bool plain = std::all_of(pattern.begin(), pattern.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
  });
  if (plain && !ascii_only_ && !one_line_) plain_ = pattern;
}

PythonRegex::Verdict PythonRegex::PlainAt(std::string_view name, size_t at) const {
  if (name.size() - at < plain_.size()) {
    // Fewer bytes than characters are wanted: no way to match.
    return Verdict::kNo;
  }
  for (size_t i = 0; i < plain_.size(); ++i) {
    const char c = name[at + i];
    if (plain_[i] == '.') {  // one character, which may be more than a byte, but no new line
      if (c == '\n' || static_cast<unsigned char>(c) >= 0x80) return Verdict::kUnsupported;
    } else if (plain_[i] != c) {
      return Verdict::kNo;
    }
  }
  return Verdict::kYes;
}

// Whether RE2 reads the pattern as Python does for this name.
bool PythonRegex::Knows(std::string_view name) const {
  if (one_line_ && name.find('\n') != std::string_view::npos) return false;
  return !ascii_only_ || std::none_of(name.begin(), name.end(),
                                      [](char c) { return static_cast<unsigned char>(c) >= 0x80; });
}

PythonRegex::Verdict PythonRegex::Match(std::string_view name, Anchor anchor) const {
  if (!regex_) return without_;
  if (!plain_.empty() && anchor != Anchor::kSearch) {
    const Verdict verdict = PlainAt(name, 0);
    if (verdict == Verdict::kNo) return verdict;
    if (verdict == Verdict::kYes)
      return anchor == Anchor::kMatch || name.size() == plain_.size() ? verdict : Verdict::kNo;
  }
  if (!Knows(name)) return Verdict::kUnsupported;
  const RE2::Anchor how = anchor == Anchor::kMatch    ? RE2::ANCHOR_START
                          : anchor == Anchor::kSearch ? RE2::UNANCHORED
                                                      : RE2::ANCHOR_BOTH;
  const re2::StringPiece text(name.data(), name.size());
  return regex_->Match(text, 0, text.size(), how, nullptr, 0) ? Verdict::kYes : Verdict::kNo;
}

PythonRegex::Verdict PythonRegex::MatchToBoundary(std::string_view name) const {
  if (!regex_) return without_;
  const auto is_boundary = [name](size_t end) {
    return end == name.size() || name[end] == '.' || (end > 0 && name[end - 1] == '.');
  };
  if (!plain_.empty()) {
    const Verdict verdict = PlainAt(name, 0);
    if (verdict == Verdict::kNo) return verdict;
    if (verdict == Verdict::kYes) return is_boundary(plain_.size()) ? verdict : Verdict::kNo;
  }
  if (!Knows(name)) return Verdict::kUnsupported;
  const re2::StringPiece text(name.data(), name.size());
  for (size_t end = 0; end <= name.size(); ++end) {
    // RE2 sees the whole name, so that `$` within the pattern still means its end.
    if (is_boundary(end) && regex_->Match(text, 0, end, RE2::ANCHOR_BOTH, nullptr, 0))
      return Verdict::kYes;
  }
  return Verdict::kNo;
}

const PythonRegex& PythonRegexes::Get(std::string_view pattern, PythonModule module) {
  Known& known = known_[module == PythonModule::kRe ? 0 : 1];
  const auto found = known.find(pattern);
  if (found != known.end()) return *found->second;
  return *known.emplace(std::string(pattern), std::make_unique<PythonRegex>(pattern, module))
              .first->second;
}

}  // namespace ferrule
