// SPDX-License-Identifier: Apache-2.0
#include "engine/runtimes/matrix.h"

#include <algorithm>

namespace ferrule {
namespace {

// "model.layers.<layer>.mlp.experts" of an expert's linear.
std::string RowName(const Unit& unit) {
  std::string name = unit.Display();
  if (unit.container >= 0) name.resize(std::min(name.size(), name.find(".<expert>")));
  return name;
}

std::string Answered(const AsModule& module) {
  if (module.result == "error") return module.error;
  if (module.result == "unsupported") return "unknown";
  return module.result == "quant" ? "quant" : "bf16";
}

// 0.5.6 before 0.5.10: numbers by their value.
bool Before(const std::string& a, const std::string& b) {
  const auto digits = [](const std::string& text, size_t at) {
    size_t end = at;
    while (end < text.size() && text[end] >= '0' && text[end] <= '9') ++end;
    return end - at;
  };
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    const size_t left = digits(a, i), right = digits(b, j);
    if (left == 0 || right == 0) {
      if (a[i] != b[j]) return a[i] < b[j];
      ++i, ++j;
      continue;
    }
    if (left != right) return left < right;
    if (const int order = a.compare(i, left, b, j, right); order != 0) return order < 0;
    i += left, j += right;
  }
  return a.size() < b.size();
}

class Table {
 public:
  explicit Table(Matrix* matrix) : matrix_(*matrix) {}

  // Rows in the order of the rule file, and how many modules each has.
  void Seed(const Plan& plan) {
    const Decisions& d = plan.decisions;
    int32_t container = -1;
    for (const Unit& unit : d.units.units) {
      if (!IsLinear(unit.kind)) continue;
      if (unit.container >= 0) {
        if (unit.container == container) continue;
        container = unit.container;
        const int8_t scheme = d.container_scheme[static_cast<size_t>(container)];
        ++matrix_.rows[Row(RowName(unit), plan.SchemeName(scheme))].count;
        continue;
      }
      for (int32_t i = 0; i < unit.count; ++i) {
        const Module& module = d.modules[static_cast<size_t>(unit.first + i)];
        if (!module.absent)
          ++matrix_.rows[Row(RowName(unit), plan.SchemeName(module.scheme))].count;
      }
    }
  }

  void Add(const Plan& plan, const PlanAs& as, bool first_size, MatrixEngine* engine) {
    for (const AsModule& module : as.modules) {
      std::string last;
      for (const int32_t id : module.modules) {
        const Unit& unit = plan.decisions.UnitOf(id);
        const std::string name = RowName(unit);
        if (unit.container >= 0 && name == last) continue;  // one for all linears of its experts
        last = name;
        const int8_t scheme = unit.container >= 0
                                  ? module.stored
                                  : plan.decisions.modules[static_cast<size_t>(id)].scheme;
        if (plan.decisions.modules[static_cast<size_t>(id)].absent) continue;
        const size_t row = Row(name, IsLinear(unit.kind) ? plan.SchemeName(scheme) : "bf16");
        Fill(module, matrix_.rows[row].stored, plan.tp, first_size, Cell(engine, row));
      }
    }
  }

  void Finish() {
    for (MatrixEngine& engine : matrix_.engines) engine.cells.resize(matrix_.rows.size());
    for (size_t r = 0; r < matrix_.rows.size(); ++r) {
      MatrixRow& row = matrix_.rows[r];
      const MatrixCell* first = nullptr;
      for (MatrixEngine& engine : matrix_.engines) {
        const MatrixCell& cell = engine.cells[r];
        engine.wrong += cell.wrong;
        row.count = std::max(row.count, cell.built());
        if (cell.wrong > 0 || !cell.refused.empty()) row.differs = true;
        if (cell.answers.empty()) continue;  // not built there, or in something else
        if (first != nullptr && first->answers != cell.answers) row.differs = true;
        first = &cell;
      }
    }
  }

 private:
  size_t Row(const std::string& name, const std::string& stored) {
    const auto [at, fresh] = index_.try_emplace({name, stored}, matrix_.rows.size());
    if (fresh) matrix_.rows.push_back({name, stored, 0, false});
    return at->second;
  }

  static MatrixCell* Cell(MatrixEngine* engine, size_t row) {
    if (engine->cells.size() <= row) engine->cells.resize(row + 1);
    return &engine->cells[row];
  }

  static void Fill(const AsModule& module, const std::string& stored, int tp, bool first_size,
                   MatrixCell* cell) {
    if (!module.refusal.empty() && (cell->refused.empty() || cell->refused.back() != tp)) {
      cell->refused.push_back(tp);
      if (cell->refusal.empty()) cell->refusal = module.refusal;
    }
    if (!first_size) return;  // what is decided does not hang on the size
    const std::string answer = Answered(module);
    ++cell->answers[answer];
    if (cell->name.empty()) cell->name = module.name;
    const bool quant = answer == "quant";
    if (answer != "unknown" && !stored.empty() &&
        ((!quant && answer != "bf16") || quant == (stored == "bf16")))
      ++cell->wrong;
  }

  Matrix& matrix_;
  std::map<std::pair<std::string, std::string>, size_t> index_;
};

}  // namespace

int64_t MatrixCell::built() const {
  int64_t sum = 0;
  for (const auto& [answer, count] : answers) sum += count;
  return sum;
}

std::optional<Matrix> CompareEngines(const Book& book, const RuntimeBook& runtimes,
                                     const std::shared_ptr<const Checkpoint>& checkpoint,
                                     const std::vector<int>& tp, Diagnostics* out) {
  Matrix matrix;
  matrix.tp = tp;
  Table table(&matrix);
  std::vector<MatrixEngine> engines(runtimes.runtimes.size());
  std::vector<std::string> why(engines.size());
  std::vector<std::optional<PlanAs>> decided(engines.size());
  QuestionCache cache;
  auto plan = MakePlan(book, checkpoint, {tp[0]}, out);
  if (!plan) return std::nullopt;
  table.Seed(*plan);
  for (const int size : tp) {
    Diagnostics ignored;
    const bool first = size == tp[0];
    if (plan->tp != size && !CutAgain(size, &*plan, &ignored)) return std::nullopt;
    for (size_t e = 0; e < engines.size(); ++e) {
      const Runtime& runtime = *runtimes.runtimes[e];
      engines[e].name = runtime.engine + "@" + runtime.version;
      if (!first && (!why[e].empty() || !runtime.block_check)) continue;
      Diagnostics findings;
      auto as = ComparePlan(*plan, runtime, &cache, first ? nullptr : &*decided[e], &findings);
      if (as) table.Add(*plan, *as, first, &engines[e]);
      if (as && first)
        decided[e] = std::move(as);
      else if (!as)
        why[e] = findings.findings().empty() ? "not described" : findings.findings()[0].message;
    }
  }
  for (size_t e = 0; e < engines.size(); ++e) {
    if (why[e].empty())
      matrix.engines.push_back(std::move(engines[e]));
    else
      matrix.left_out.emplace_back(engines[e].name, why[e]);
  }
  std::sort(matrix.engines.begin(), matrix.engines.end(),
            [](const auto& a, const auto& b) { return Before(a.name, b.name); });
  std::sort(matrix.left_out.begin(), matrix.left_out.end(),
            [](const auto& a, const auto& b) { return Before(a.first, b.first); });
  table.Finish();
  return matrix;
}

}  // namespace ferrule
