// SPDX-License-Identifier: Apache-2.0
#include "engine/text/diagnostics.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "engine/text/finding_order.h"
#include "engine/text/remedy.h"

namespace ferrule {
namespace {

struct Colors {
  const char *error, *warning, *note, *gutter, *help, *off;
};
constexpr size_t kWidth = 100;  // facts are wrapped: no message relies on a wide terminal
constexpr Colors kPlain = {"", "", "", "", "", ""};
constexpr Colors kAnsi = {"\033[1;31m", "\033[1;33m", "\033[1;36m",
                          "\033[34m",   "\033[32m",   "\033[0m"};

const char* Paint(const Colors& colors, Level level) {
  return level == Level::kError     ? colors.error
         : level == Level::kWarning ? colors.warning
                                    : colors.note;
}

constexpr size_t kMaxLine = 600;  // columns of a line that is shown whole
constexpr size_t kShown = 160;    // of one that is cut

struct Mark {  // columns of one line, from 0, end exclusive
  size_t begin, end;
  char sign;
};

Mark MarkOf(const Location& at, size_t width, char sign) {
  const size_t column = std::min(static_cast<size_t>(std::max(at.column, 1)), width + 1);
  const size_t end = std::clamp(static_cast<size_t>(std::max(at.end_column, at.column + 1)),
                                column + 1, std::max(width, column) + 1);
  return {column - 1, end - 1, sign};
}

// What is shown of a line that is too long to be read: the columns around `column`.
struct Cut {
  size_t begin = 0, end = 0;
  std::string line;
};

Cut CutAround(const std::string& line, size_t width, size_t column) {
  if (width <= kMaxLine) return {0, width, line};
  Cut cut;
  cut.begin = std::min(column > kShown / 2 ? column - kShown / 2 : 0, width - kShown);
  cut.end = cut.begin + kShown;
  const size_t first = cut.begin > 0 ? cut.begin + 1 : 0;  // one column for each `…`
  const size_t last = cut.end < width ? cut.end - 1 : width;
  size_t seen = 0;  // columns up to that of `c`
  for (const char c : line) {
    if ((c & 0xC0) != 0x80) ++seen;
    if (seen > first && seen <= last) cut.line += c;
  }
  if (first > 0) cut.line.insert(0, "…");
  if (last < width) cut.line += "…";
  return cut;
}

// The line of `at` with a caret under its range and dashes under those of the labels on that line;
// nothing when no text is known.
std::string Snippet(const Location& at, const std::vector<const Label*>& labels, char sign,
                    std::string_view text, size_t gutter, const Colors& colors, const char* paint) {
  if (!at.source || at.line < 1) return {};
  std::string source(at.source->Line(at.line));
  std::replace(source.begin(), source.end(), '\t', ' ');  // one column each
  const std::string line = Printable(source);
  const size_t width = CodePoints(line);
  std::vector<Mark> marks{MarkOf(at, width, sign)};
  std::vector<std::string_view> texts;
  for (const Label* label : labels) {
    marks.push_back(MarkOf(label->at, width, '-'));
    if (std::find(texts.begin(), texts.end(), label->text) == texts.end())
      texts.push_back(label->text);
  }
  const Cut cut = CutAround(line, width, marks[0].begin);
  std::string under;
  for (Mark mark : marks) {
    if (cut.end < width || cut.begin > 0) {
      mark.begin = std::max(mark.begin, cut.begin) - cut.begin;
      mark.end = std::max(std::min(mark.end, cut.end + 1), cut.begin) - cut.begin;
      if (mark.begin >= mark.end) continue;
    }
    under.resize(std::max(under.size(), mark.end), ' ');
    std::fill(under.begin() + static_cast<std::ptrdiff_t>(mark.begin),
              under.begin() + static_cast<std::ptrdiff_t>(mark.end), mark.sign);
  }
  if (!text.empty()) texts.push_back(text);
  std::string out =
      fmt::format("{}{:>{}} |{} {}\n", colors.gutter, at.line, gutter, colors.off, cut.line);
  out += fmt::format("{}{:>{}} |{} {}{}", colors.gutter, "", gutter, colors.off, paint, under);
  if (!texts.empty()) out += fmt::format(" {}", fmt::join(texts, ", "));
  return out + colors.off + "\n";
}

}  // namespace

const std::vector<CodeInfo>& AllCodes() {
  static const std::vector<CodeInfo> codes = {
#define FERRULE_CODE(number, name, slug, level, blame, title, text) \
  {Code::name, slug, level, blame, title, text},
#include "engine/text/codes.def"
#undef FERRULE_CODE
  };
  return codes;
}

const CodeInfo& Info(Code code) {
  const auto& codes = AllCodes();  // ascending, so that a binary search finds every enumerator
  return *std::lower_bound(codes.begin(), codes.end(), code,
                           [](const CodeInfo& info, Code c) { return info.code < c; });
}

std::string CodeName(Code code) { return fmt::format("FR{:03}", static_cast<int>(code)); }

std::string_view LevelName(Level level) {
  return level == Level::kError ? "error" : level == Level::kWarning ? "warning" : "note";
}

Finding::Finding(Code c, std::string text, Location where)
    : code(c),
      level(Info(c).level),
      message(std::move(text)),
      at(std::move(where)),
      help(RemedyOf(c)) {}

Finding& Finding::Fact(std::string key, std::string text) {
  facts.emplace_back(std::move(key), std::move(text));
  return *this;
}

Finding& Finding::Help(std::string text) {
  if (!text.empty()) help = std::move(text);
  return *this;
}

Finding& Finding::Mark(Location where, std::string text) {
  labels.push_back({std::move(where), std::move(text)});
  return *this;
}

Finding& Diagnostics::Add(Finding finding) {
  const size_t seen = ++counts_[static_cast<size_t>(finding.level)];
  if (finding.level == Level::kError)
    exit_code_ = std::max(exit_code_, static_cast<int>(Info(finding.code).blame));
  if (seen <= kMaxKept) {
    findings_.push_back(std::move(finding));
    return findings_.back();
  }
  scratch_.clear();
  scratch_.push_back(std::move(finding));
  return scratch_.back();
}

Finding& Diagnostics::Add(Code code, std::string message, Location at) {
  return Add(Finding(code, std::move(message), std::move(at)));
}

void Diagnostics::AddOnce(const Finding& finding) {
  const bool known = std::any_of(findings_.begin(), findings_.end(), [&](const Finding& other) {
    return other.code == finding.code && other.message == finding.message &&
           other.at.ToString() == finding.at.ToString();
  });
  if (!known) Add(finding);
}

void Diagnostics::Append(const Diagnostics& other) {
  for (const Finding& finding : other.findings_) Add(finding);
  size_t kept[3] = {0, 0, 0};
  for (const Finding& finding : other.findings_) ++kept[static_cast<size_t>(finding.level)];
  for (size_t i = 0; i < 3; ++i) counts_[i] += other.counts_[i] - kept[i];
  exit_code_ = std::max(exit_code_, other.exit_code_);
}

size_t Diagnostics::dropped() const {
  return counts_[0] + counts_[1] + counts_[2] - findings_.size();
}

std::vector<const Finding*> InOrder(const Diagnostics& diagnostics) {
  std::vector<const Finding*> out;
  for (const Finding& finding : diagnostics.findings()) out.push_back(&finding);
  const auto key = [](const Finding& finding) {
    return std::tuple(-static_cast<int>(finding.level), std::string_view(finding.at.path),
                      finding.at.line, finding.at.column);
  };
  std::stable_sort(out.begin(), out.end(),
                   [&](const Finding* a, const Finding* b) { return key(*a) < key(*b); });
  return out;
}

std::string ToHuman(const Finding& finding, bool color) {
  const Colors& colors = color ? kAnsi : kPlain;
  std::string out =
      fmt::format("{}{}[{}]{}: {}\n", Paint(colors, finding.level), LevelName(finding.level),
                  CodeName(finding.code), colors.off, finding.message);
  size_t gutter = finding.at.line > 0 ? std::to_string(finding.at.line).size() : 1;
  for (const Label& label : finding.labels)
    gutter = std::max(gutter, std::to_string(std::max(1, label.at.line)).size());
  if (!finding.at.path.empty()) {
    out += fmt::format("{:>{}}--> {}\n", "", gutter, finding.at.ToString());
    if (finding.at.source && finding.at.line > 0)
      out += fmt::format("{}{:>{}} |{}\n", colors.gutter, "", gutter, colors.off);
    std::vector<const Label*> here;
    for (const Label& label : finding.labels)
      if (label.at.path == finding.at.path && label.at.line == finding.at.line)
        here.push_back(&label);
    out += Snippet(finding.at, here, '^', "", gutter, colors, Paint(colors, finding.level));
  }
  for (const Label& label : finding.labels) {
    if (label.at.path == finding.at.path && label.at.line == finding.at.line && finding.at.source)
      continue;
    const std::string snippet =
        Snippet(label.at, {}, '-', label.text, gutter, colors, colors.gutter);
    if (label.at.path != finding.at.path || snippet.empty())
      out += fmt::format("{:>{}}::: {}{}\n", "", gutter, label.at.ToString(),
                         snippet.empty() ? ": " + label.text : "");
    out += snippet;
  }
  size_t width = 0;
  for (const auto& [key, text] : finding.facts) width = std::max(width, key.size() + 1);
  for (const auto& [key, text] : finding.facts)
    out += fmt::format("{:>{}} = {:<{}} {}\n", "", gutter, key + ":", width,
                       Wrapped(text, kWidth - gutter - 4 - width, gutter + 4 + width));
  if (!finding.help.empty())
    out += fmt::format("{}help{}: {}\n", colors.help, colors.off, finding.help);
  return out;
}

std::string ToShort(const Finding& finding) {
  const std::string place = finding.at.ToString();
  return fmt::format("{}{}{}[{}]: {}\n", place, place.empty() ? "" : ": ", LevelName(finding.level),
                     CodeName(finding.code), finding.message);
}

std::string ToHuman(const Diagnostics& diagnostics, bool color) {
  std::string out;
  for (const Finding* finding : InOrder(diagnostics)) out += ToHuman(*finding, color) + "\n";
  if (diagnostics.dropped() > 0)
    out += fmt::format("… and {} more findings of the same kinds\n", diagnostics.dropped());
  return out;
}

Error ToError(const Diagnostics& diagnostics) {
  Error error;
  error.blame = static_cast<Blame>(std::max(1, diagnostics.ExitCode()));
  error.message = ToHuman(diagnostics, false);
  return error;
}

}  // namespace ferrule
