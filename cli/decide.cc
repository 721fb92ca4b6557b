// SPDX-License-Identifier: Apache-2.0
// ferrule decide CASES.jsonl [--as ENGINE@VERSION]: questions without a model, one JSON object a
// line; the same line comes out with `result` and `error`. Rows that say what is right are
// compared.
#include <fmt/format.h>

#include <map>
#include <sstream>

#include "cli/command.h"
#include "cli/decide_row.h"
#include "engine/report/report_parts.h"
#include "engine/text/file.h"
#include "engine/text/json_writer.h"

namespace ferrule::cli {
namespace {

using Kind = RowOutcome::Kind;

constexpr uint64_t kMaxBytes = 256ULL << 20;
constexpr std::pair<Kind, const char*> kKinds[] = {
    {Kind::kPassed, "passed"},   {Kind::kFailed, "failed"}, {Kind::kAnswered, "answered"},
    {Kind::kSkipped, "skipped"}, {Kind::kKnown, "known"},   {Kind::kUnsupported, "unsupported"}};

const char* KindName(Kind kind) {
  for (const auto& [known, name] : kKinds)
    if (known == kind) return name;
  return "";
}

class Asker {
 public:
  Asker(const Common& common, const DecideOptions& options) : common_(common), options_(options) {}

  int Run() {
    const auto text = Open();
    decider_ = text ? MakeDecider(common_, options_.as, &findings_) : nullptr;
    if (decider_ == nullptr) return Finish(common_, "decide", findings_);
    std::shared_ptr<const Source> whole;  // for snippets
    std::istringstream lines(*text);
    for (std::string line; std::getline(lines, line);) {
      ++number_;
      if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
      Diagnostics found;
      Row(line, &found);
      for (Finding finding : found.findings()) {
        if (finding.at.source != nullptr) {
          if (!whole) whole = std::make_shared<const Source>(options_.cases, *text);
          finding.at.source = whole;
        }
        finding.at.line = number_;
        // In text the line says where, and the message names the key.
        if (common_.format != Format::kJson) finding.at.pointer.clear();
        findings_.Add(std::move(finding));
      }
    }
    Judge();
    if (common_.format == Format::kJson) {
      Print(Document());
      return findings_.ExitCode();
    }
    if (!findings_.findings().empty())
      Print(FindingsReport(findings_, Options(common_, "decide", "")));
    if (Asked() > 0) Print(Summary());
    return findings_.ExitCode();
  }

 private:
  std::optional<std::string> Open() {
    Diagnostics opened;
    auto text = ReadFile(options_.cases, kMaxBytes, Code::kNotFound, &opened);
    for (Finding finding : opened.findings()) {
      if (finding.code == Code::kNotFound && PathExists(options_.cases))
        finding.Help("questions are read from a file: write them to one first");
      findings_.Add(std::move(finding));
    }
    return text;
  }

  void Row(const std::string& line, Diagnostics* found) {
    RowOutcome outcome;
    outcome.kind = Kind::kFailed;
    const auto row = ParseJson(options_.cases, line, {}, found);
    if (row && row->is_object()) {
      if (number_ == 1 && decider_->ReadHeader(*row)) return;
      outcome = decider_->Ask(*row, options_.cases, found);
    } else if (row) {
      found->Add(Code::kJsonType, "a question must be an object", row->location());
    }
    ++counts_[outcome.kind];
    if (outcome.kind == Kind::kUnsupported) ++unsupported_[outcome.why];
    if (outcome.kind == Kind::kFailed && !found->has_errors()) Otherwise(outcome);
    if (common_.format == Format::kJson)
      rows_ += fmt::format("{}\n{{\"line\":{},\"outcome\":\"{}\",\"row\":{}}}",
                           rows_.empty() ? "" : ",", number_, KindName(outcome.kind),
                           outcome.line.empty() ? "null" : outcome.line);
    else if (!outcome.line.empty() &&
             (outcome.kind == Kind::kFailed || common_.format != Format::kShort))
      Print(outcome.line + "\n");
  }

  // A row whose answer is not the one that it holds.
  void Otherwise(const RowOutcome& outcome) {
    if (++otherwise_ > 1) return;
    first_ = number_;
    if (outcome.answer != outcome.expected)
      example_ =
          fmt::format(", e.g. {} instead of {}", Quoted(outcome.answer), Quoted(outcome.expected));
  }

  // What only all rows together show.
  void Judge() {
    if (otherwise_ > 0)
      findings_
          .Add(Code::kTestFailed,
               fmt::format("{} row{} answered otherwise than {}{}", otherwise_,
                           otherwise_ == 1 ? " is" : "s are",
                           otherwise_ == 1 ? "it says" : "they say", example_),
               {nullptr, options_.cases, first_, 0, 0, {}})
          .Help("where the row is right the rules are not: mend them, or else the row");
    if (Asked() == 0)
      findings_.Add(Code::kNoTests,
                    fmt::format("no row of {} was {}", Quoted(options_.cases),
                                Count(Kind::kSkipped) > 0 ? "for this runtime" : "compared"));
  }

  size_t Count(Kind kind) const {
    const auto at = counts_.find(kind);
    return at == counts_.end() ? 0 : at->second;
  }

  size_t Asked() const {
    return Count(Kind::kPassed) + Count(Kind::kFailed) + Count(Kind::kAnswered);
  }

  std::string Summary() const {
    std::string text;
    for (const auto& [why, rows] : unsupported_)
      text += fmt::format("{} unsupported: {}, which RE2 cannot express\n", rows, why);
    if (const size_t known = Count(Kind::kKnown); known > 0)
      text +=
          fmt::format("{} known differences, with their reasons in the runtime's file\n", known);
    text += fmt::format("{} passed, {} failed", Count(Kind::kPassed), Count(Kind::kFailed));
    if (const size_t skipped = Count(Kind::kSkipped); skipped > 0)
      text += fmt::format(", {} skipped", skipped);
    return text + "\n";
  }

  // The rows are JSON already: they stand between what two writers make.
  std::string Document() const {
    JsonWriter head, tail;
    WriteHead(Options(common_, "decide", ""), &head);
    head.Key("cases").Text(options_.cases).Key("as").TextOrNull(options_.as);
    head.Key("counts").BeginObject();
    for (const auto& [kind, name] : kKinds) head.Key(name).Int(static_cast<int64_t>(Count(kind)));
    head.EndObject();
    tail.BeginObject();
    WriteFindings(findings_, &tail);
    tail.EndObject();
    return head.Take() + ",\"rows\":[" + rows_ + "\n]," + tail.Take().substr(1) + "\n";
  }

  const Common& common_;
  const DecideOptions& options_;
  Diagnostics findings_;
  std::unique_ptr<Decider> decider_;
  int number_ = 0;                             // of the line
  std::map<Kind, size_t> counts_;              // rows
  std::map<std::string, size_t> unsupported_;  // construct → rows
  size_t otherwise_ = 0;                       // rows whose answer is not the one that they hold
  int first_ = 0;                              // line of the first of them
  std::string example_;                        // how it was answered
  std::string rows_;                           // of the JSON document
};

}  // namespace

int Decide(const Common& common, const DecideOptions& options) {
  return Asker(common, options).Run();
}

}  // namespace ferrule::cli
