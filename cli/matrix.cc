// SPDX-License-Identifier: Apache-2.0
// ferrule matrix DIR [--tp 1,2,4,8] [--all]: what every described engine version does with a
// checkpoint, side by side. Engines that do the same share a column.
#include "engine/runtimes/matrix.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/command.h"
#include "engine/report/report_parts.h"
#include "engine/text/json_writer.h"

namespace ferrule::cli {
namespace {

constexpr const char* kRed = "\x1b[31m";
constexpr const char* kOff = "\x1b[0m";

bool IsWrong(const std::string& answer, const MatrixRow& row) {
  if (answer == "unknown" || row.stored.empty()) return false;
  return (answer == "bf16") != (row.stored == "bf16") || (answer != "bf16" && answer != "quant");
}

// "quant", "bf16 12, quant! 24"; "-" where the engine builds no such module.
std::string CellText(const MatrixCell& cell, const MatrixRow& row) {
  if (cell.answers.empty()) return "-";
  std::string out;
  for (const auto& [answer, count] : cell.answers) {
    out += fmt::format("{}{}{}", out.empty() ? "" : ", ", answer, IsWrong(answer, row) ? "!" : "");
    if (count != row.count) out += fmt::format(" {}", count);
  }
  return out;
}

std::string Sizes(const std::vector<int>& tp) { return fmt::format("{}", fmt::join(tp, ", ")); }

// Engines whose cells are alike in all rows that are shown; the first stands for all.
struct Column {
  std::vector<const MatrixEngine*> engines;
  std::string letter;
};

std::vector<Column> Columns(const Matrix& matrix, const std::vector<size_t>& rows) {
  std::vector<Column> columns;
  for (const MatrixEngine& engine : matrix.engines) {
    const auto same = [&](const Column& column) {
      return std::all_of(rows.begin(), rows.end(),
                         [&](size_t r) { return column.engines[0]->cells[r] == engine.cells[r]; });
    };
    const auto at = std::find_if(columns.begin(), columns.end(), same);
    if (at != columns.end())
      at->engines.push_back(&engine);
    else
      columns.push_back({{&engine}, std::string(1, static_cast<char>('A' + columns.size() % 26))});
  }
  return columns;
}

std::string Names(const Column& column) {
  std::vector<std::string> names;
  for (const MatrixEngine* engine : column.engines) names.push_back(engine->name);
  return fmt::format("{}", fmt::join(names, ", "));
}

// Cells under each other; a cell that begins with `!` is painted. Rows of one container stand
// below its name.
class TextTable {
 public:
  TextTable(std::vector<std::string> head, bool color) : color_(color) {
    rows_.push_back(std::move(head));
  }
  void Add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

  std::string Text() const {
    std::vector<size_t> width(rows_[0].size());
    for (const auto& row : rows_)
      for (size_t c = 0; c < row.size(); ++c) width[c] = std::max(width[c], row[c].size());
    std::string out;
    for (const auto& row : rows_) {
      std::string line;
      for (size_t c = 0; c < row.size(); ++c) {
        const bool wrong = color_ && row[c].find('!') != std::string::npos;
        line += fmt::format("{}{}{}{}{}", c == 0 ? "" : "  ", wrong ? kRed : "", row[c],
                            wrong ? kOff : "", std::string(width[c] - row[c].size(), ' '));
      }
      line.erase(line.find_last_not_of(' ') + 1);
      out += line + "\n";
    }
    return out;
  }

 private:
  bool color_;
  std::vector<std::vector<std::string>> rows_;
};

// "not described" for the same reason but for the engine's name is said once.
std::string LeftOut(const Matrix& matrix) {
  std::vector<std::pair<std::string, std::vector<std::string>>> reasons;
  for (const auto& [engine, why] : matrix.left_out) {
    std::string reason = why;
    const size_t at = reason.find(engine);
    if (at != std::string::npos) reason.replace(at, engine.size(), "it");
    const auto known = std::find_if(reasons.begin(), reasons.end(),
                                    [&](const auto& other) { return other.first == reason; });
    if (known == reasons.end())
      reasons.push_back({reason, {engine}});
    else
      known->second.push_back(engine);
  }
  std::string out;
  for (const auto& [reason, engines] : reasons)
    out +=
        Wrapped(fmt::format("left out: {}: {}", fmt::join(engines, ", "), reason), 100, 10) + "\n";
  return out;
}

std::string Human(const Matrix& matrix, const std::vector<size_t>& rows, bool color) {
  std::string out;
  const std::vector<Column> columns = Columns(matrix, rows);
  for (const Column& column : columns) out += fmt::format("{}  {}\n", column.letter, Names(column));
  std::vector<std::string> head = {"module", "stored", "count"};
  for (const Column& column : columns) head.push_back(column.letter);
  TextTable decisions(head, color);
  head.erase(head.begin() + 1);
  TextTable sizes(head, color);
  bool refused = false;
  for (const size_t r : rows) {
    const MatrixRow& row = matrix.rows[r];
    std::vector<std::string> cells = {row.name, row.stored.empty() ? "?" : row.stored,
                                      std::to_string(row.count)};
    std::vector<std::string> tp = {row.name, std::to_string(row.count)};
    bool some = false;
    for (const Column& column : columns) {
      const MatrixCell& cell = column.engines[0]->cells[r];
      cells.push_back(CellText(cell, row));
      tp.push_back(Sizes(cell.refused));
      some = some || !cell.refused.empty();
    }
    decisions.Add(std::move(cells));
    if (some) sizes.Add(std::move(tp));
    refused = refused || some;
  }
  if (!rows.empty()) out += "\n" + decisions.Text();
  if (refused)
    out += "\ntensor-parallel sizes that the block check refuses, of " + Sizes(matrix.tp) + "\n\n" +
           sizes.Text();
  const std::string left_out = LeftOut(matrix);
  if (matrix.engines.empty()) return left_out;
  if (!left_out.empty()) out += "\n" + left_out;
  const int64_t wrong = std::count_if(matrix.engines.begin(), matrix.engines.end(),
                                      [](const MatrixEngine& engine) { return engine.wrong > 0; });
  const size_t hidden = matrix.rows.size() - rows.size();
  out += fmt::format("\n{} engine version{} described, {} of them decide{} otherwise than stored\n",
                     matrix.engines.size(), matrix.engines.size() == 1 ? "" : "s", wrong,
                     wrong == 1 ? "s" : "");
  if (hidden > 0)
    out += fmt::format("{} kind{} of modules on which all agree: --all\n", hidden,
                       hidden == 1 ? "" : "s");
  return out;
}

std::string Short(const Matrix& matrix, const std::vector<size_t>& rows, bool all) {
  std::string out;
  for (const MatrixEngine& engine : matrix.engines)
    for (const size_t r : rows) {
      const MatrixRow& row = matrix.rows[r];
      const MatrixCell& cell = engine.cells[r];
      if (cell.answers.empty() || (!all && cell.wrong == 0 && cell.refused.empty())) continue;
      out += fmt::format("{}: {} ({}): stored {}: {}{}\n", engine.name, row.name, row.count,
                         row.stored.empty() ? "?" : row.stored, CellText(cell, row),
                         cell.refused.empty() ? ""
                                              : fmt::format(": refused at tp {}: {}",
                                                            Sizes(cell.refused), cell.refusal));
    }
  for (const auto& [engine, why] : matrix.left_out)
    out += fmt::format("{}: left out: {}\n", engine, why);
  return out;
}

void WriteTp(const std::vector<int>& tp, JsonWriter* out) {
  out->BeginArray();
  for (const int size : tp) out->Int(size);
  out->EndArray();
}

void WriteEngine(const Matrix& matrix, const MatrixEngine& engine, const std::vector<size_t>& rows,
                 JsonWriter* out) {
  out->Line().BeginObject().Key("engine").Text(engine.name).Key("wrong").Int(engine.wrong);
  out->Key("cells").BeginArray();
  for (const size_t r : rows) {
    const MatrixCell& cell = engine.cells[r];
    if (cell.answers.empty()) continue;
    out->BeginObject().Key("module").Text(matrix.rows[r].name);
    out->Key("stored").TextOrNull(matrix.rows[r].stored).Key("name").Text(cell.name);
    out->Key("answers").BeginObject();
    for (const auto& [answer, count] : cell.answers) out->Key(answer).Int(count);
    out->EndObject().Key("wrong").Int(cell.wrong).Key("refused_tp");
    WriteTp(cell.refused, out);
    out->Key("refusal").TextOrNull(cell.refusal).EndObject();
  }
  out->EndArray().EndObject();
}

std::string Json(const Matrix& matrix, const std::vector<size_t>& rows, const Diagnostics& findings,
                 const ReportOptions& options) {
  JsonWriter out;
  WriteHead(options, &out);
  out.Key("model").Text(options.model).Key("tp");
  WriteTp(matrix.tp, &out);
  out.Key("modules").BeginArray();
  for (const size_t r : rows) {
    const MatrixRow& row = matrix.rows[r];
    out.Line().BeginObject().Key("module").Text(row.name).Key("stored").TextOrNull(row.stored);
    out.Key("count").Int(row.count).Key("differs").Bool(row.differs).EndObject();
  }
  out.EndArray().Key("engines").BeginArray();
  for (const MatrixEngine& engine : matrix.engines) WriteEngine(matrix, engine, rows, &out);
  out.EndArray().Key("left_out").BeginArray();
  for (const auto& [engine, why] : matrix.left_out)
    out.Line().BeginObject().Key("engine").Text(engine).Key("why").Text(why).EndObject();
  out.EndArray();
  WriteFindings(findings, &out);
  out.EndObject();
  return out.Take() + "\n";
}

// What is wrong, as findings: one for each engine.
void Judge(const Matrix& matrix, Diagnostics* out) {
  for (const MatrixEngine& engine : matrix.engines) {
    if (engine.wrong == 0) continue;
    const auto cell = std::find_if(engine.cells.begin(), engine.cells.end(),
                                   [](const MatrixCell& c) { return c.wrong > 0; });
    Finding finding(Code::kRuntimeOtherwise,
                    fmt::format("{} runs {} module{} otherwise than stored, or stops at them",
                                engine.name, engine.wrong, engine.wrong == 1 ? "" : "s"));
    finding.Fact("module", "e.g. " + cell->name);
    finding.Help(fmt::format("see `ferrule plan DIR --as {}`", engine.name));
    out->Add(std::move(finding));
  }
  if (matrix.engines.empty())
    out->Add(Code::kRuntimeUnknown, "no engine version describes this model and its method")
        .Help("rules/runtimes/README.md says how one is described");
}

// Keeps the versions that are asked for: all of an engine, or one. False when there is none.
bool Choose(const std::vector<std::string>& as, RuntimeBook* runtimes, Diagnostics* out) {
  if (as.empty()) return true;
  std::vector<std::shared_ptr<const Runtime>> chosen;
  for (const std::string& word : as) {
    const size_t before = chosen.size();
    for (const auto& runtime : runtimes->runtimes)
      if (runtime->engine == word) chosen.push_back(runtime);
    if (chosen.size() > before) continue;
    auto one = runtimes->Find(word, out);
    if (one == nullptr) return false;
    chosen.push_back(std::move(one));
  }
  runtimes->runtimes = std::move(chosen);
  return true;
}

}  // namespace

int CompareAllEngines(const Common& common, const MatrixOptions& options) {
  Diagnostics findings;
  std::optional<Matrix> matrix;
  if (const auto checkpoint = ReadCheckpoint(options.checkpoint, &findings)) {
    const auto book = ReadBook(common, {}, &findings);
    auto runtimes = ReadRuntimes(common, &findings);
    if (book && runtimes && Choose(options.as, &*runtimes, &findings))
      matrix = CompareEngines(*book, *runtimes, checkpoint, options.tp, &findings);
  }
  const ReportOptions report = Options(common, "matrix", options.checkpoint);
  if (!matrix) return Finish(common, "matrix", findings);
  Diagnostics errors;  // of the plan: what is less is the subject of `plan`
  for (const Finding& finding : findings.findings())
    if (finding.level == Level::kError) errors.Add(finding);
  const Diagnostics shown = matrix->engines.empty() ? Diagnostics() : errors;
  Judge(*matrix, &errors);
  std::vector<size_t> rows;
  for (size_t r = 0; r < matrix->rows.size(); ++r)
    if (options.all || matrix->rows[r].differs) rows.push_back(r);
  if (common.format == Format::kJson)
    Print(Json(*matrix, rows, errors, report));
  else if (common.format == Format::kShort)
    Print(Short(*matrix, rows, options.all) + FindingsReport(errors, report));
  else
    Print(Human(*matrix, rows, common.color) + "\n" + FindingsReport(shown, report));
  return errors.ExitCode();
}

}  // namespace ferrule::cli
