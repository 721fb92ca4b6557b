// SPDX-License-Identifier: Apache-2.0
// The public interface over book, plan and report.
#include "engine/ferrule.h"

#include "engine/plan/ask.h"
#include "engine/plan/book.h"
#include "engine/plan/plan.h"
#include "engine/plan/view.h"
#include "engine/report/report_parts.h"
#include "engine/runtimes/plan_as.h"
#include "engine/text/finding_order.h"

namespace ferrule {

struct ModelPlan::State {
  struct Plan plan;
  Diagnostics diagnostics;
  std::string directory;
  std::vector<PlanFinding> findings;
  std::vector<std::pair<std::string, int64_t>> counts;
  std::string summary;
  std::vector<int8_t> schemes;  // of each module; kNoScheme for what is no linear
};

struct EnginePlan::State {
  PlanAs as;
  ModelPlan plan;  // its ids are in `as`
  std::vector<EngineDecision> modules;
  Diagnostics diagnostics;
  std::vector<PlanFinding> findings;
};

namespace {

std::vector<PlanFinding> PlanFindings(const Diagnostics& diagnostics) {
  std::vector<PlanFinding> findings;
  for (const Finding* finding : InOrder(diagnostics))
    findings.push_back({CodeName(finding->code), Info(finding->code).slug,
                        std::string(LevelName(finding->level)), finding->message,
                        finding->at.ToString()});
  return findings;
}

EngineDecision Describe(const Plan& plan, const AsModule& module) {
  EngineDecision out;
  out.name = module.name;
  out.layer = LayerName(module.layer);
  out.draft = module.draft;
  out.asked = !module.plain;
  for (const int32_t id : module.modules) out.modules.push_back(plan.decisions.PathOf(id));
  out.result = module.result;
  out.word = module.word;
  out.error = module.error;
  out.refusal = module.refusal;
  out.stored = plan.SchemeName(module.stored);
  out.widened = module.widened;
  out.verdict = AsVerdictName(module.verdict);
  return out;
}

ReportOptions OptionsOf(const ModelPlan::State& state, Format format) {
  ReportOptions options;
  options.format = format;
  options.model = state.directory;
  options.tp = state.plan.tp;
  return options;
}

std::shared_ptr<ModelPlan::State> Describe(Plan plan, Diagnostics diagnostics,
                                           std::string directory) {
  auto state = std::make_shared<ModelPlan::State>();
  state->plan = std::move(plan);
  state->diagnostics = std::move(diagnostics);
  state->directory = std::move(directory);
  state->findings = PlanFindings(state->diagnostics);
  state->counts = CountSchemes(state->plan);
  state->summary = SummaryLine(state->plan, state->diagnostics);
  const Decisions& d = state->plan.decisions;
  for (size_t i = 0; i < d.modules.size(); ++i) {
    const bool linear = state->plan.cut_of[static_cast<size_t>(d.unit_of[i])] >= 0;
    state->schemes.push_back(linear ? d.modules[i].scheme : kNoScheme);
  }
  return state;
}

}  // namespace

std::string_view ModelPlan::SchemeOf(std::string_view module) const {
  const struct Plan& plan = state_->plan;
  const int32_t id = plan.Find(module);
  return plan.SchemeName(id < 0 ? plan.decisions.ContainerScheme(module)
                                : state_->schemes[static_cast<size_t>(id)]);
}

std::optional<Decision> ModelPlan::At(std::string_view module) const {
  const struct Plan& plan = state_->plan;
  const int32_t id = plan.Find(module);
  if (id < 0 || plan.CutOf(plan.decisions.UnitOf(id)) == nullptr) return std::nullopt;
  ModuleView view = ViewOf(plan, id, nullptr);
  Decision out;
  out.module = std::move(view.name);
  out.kind = view.kind;
  out.parts = std::move(view.parts);
  out.scheme = std::move(view.scheme);
  out.claim = std::move(view.claim);
  out.stored = std::move(view.stored);
  out.dtype = std::move(view.dtype);
  out.block_rows = view.block_n;
  out.block_columns = view.block_k;
  out.shape = std::move(view.shape);
  for (const Shard& shard : view.cut->ranks) {
    RankRows rank;
    for (const Range& range : shard.rows) rank.rows.emplace_back(range.begin, range.end);
    rank.first_column = shard.cols.begin;
    rank.end_column = shard.cols.end;
    out.ranks.push_back(std::move(rank));
  }
  out.reason = std::move(view.reason);
  out.entry = std::move(view.entry);
  out.entry_index = view.entry_index;
  out.rule_file = std::move(view.rule_file);
  out.rule_line = view.rule_line;
  out.tensor = std::move(view.tensor);
  return out;
}

Result<Decision> ModelPlan::Require(std::string_view module) const {
  Diagnostics diagnostics;
  if (FindLinear(state_->plan, module, &diagnostics) < 0)
    return Error{Blame::kCommand, ToHuman(diagnostics, false)};
  return *At(module);
}

std::vector<std::string> ModelPlan::Modules() const {
  std::vector<std::string> names;
  for (const int32_t id : PresentModules(state_->plan))
    names.push_back(state_->plan.decisions.PathOf(id));
  return names;
}

bool ModelPlan::has_errors() const { return state_->diagnostics.has_errors(); }
const std::vector<PlanFinding>& ModelPlan::findings() const { return state_->findings; }
const std::vector<std::pair<std::string, int64_t>>& ModelPlan::counts() const {
  return state_->counts;
}
const std::string& ModelPlan::Summary() const { return state_->summary; }
std::string ModelPlan::Report() const {
  return PlanReport(&state_->plan, state_->diagnostics, OptionsOf(*state_, Format::kHuman));
}
std::string ModelPlan::Json(bool expand) const {
  ReportOptions options = OptionsOf(*state_, Format::kJson);
  options.expand = expand;
  return PlanReport(&state_->plan, state_->diagnostics, options);
}
const std::string& ModelPlan::sha() const { return state_->plan.plan_sha; }
int ModelPlan::tp() const { return state_->plan.tp; }
const Plan& ModelPlan::internal() const { return state_->plan; }

const std::string& EnginePlan::engine() const { return state_->as.engine; }
const std::string& EnginePlan::version() const { return state_->as.version; }
const std::string& EnginePlan::refusal() const { return state_->as.refusal; }
const std::vector<EngineDecision>& EnginePlan::modules() const { return state_->modules; }
const std::vector<PlanFinding>& EnginePlan::findings() const { return state_->findings; }
bool EnginePlan::has_errors() const { return state_->diagnostics.has_errors(); }
std::string EnginePlan::Json(bool expand) const {
  JsonWriter out;
  out.BeginObject().Key("as");
  WritePlanAs(state_->plan.internal(), state_->as, expand, &out);
  WriteFindings(state_->diagnostics, &out);
  out.EndObject();
  return out.Take() + "\n";
}

Result<RuleBook> RuleBook::Load(const std::vector<std::string>& overlays) {
  BookOptions options;
  const std::string standard = DefaultRules();
  if (standard.empty())
    return Error{Blame::kCommand, "the default rules are neither installed nor in the source tree"};
  options.directories.push_back(standard);
  options.directories.insert(options.directories.end(), overlays.begin(), overlays.end());
  Diagnostics diagnostics;
  std::optional<Book> book = LoadBook(options, &diagnostics);
  if (!book || diagnostics.has_errors()) return ToError(diagnostics);
  return RuleBook(std::make_shared<const Book>(std::move(*book)));
}

Result<ModelPlan> RuleBook::Plan(const std::string& directory, const PlanRequest& request) const {
  Diagnostics diagnostics;
  std::optional<Checkpoint> checkpoint = OpenCheckpoint(directory, &diagnostics);
  if (!checkpoint) return ToError(diagnostics);
  auto plan = MakePlan(*book_, std::make_shared<const Checkpoint>(std::move(*checkpoint)),
                       PlanOptions{request.tp}, &diagnostics);
  if (!plan || (diagnostics.has_errors() && !request.allow_errors)) return ToError(diagnostics);
  return ModelPlan(Describe(std::move(*plan), std::move(diagnostics), directory));
}

Result<EnginePlan> RuleBook::PlanAs(const ModelPlan& plan, const std::string& engine) const {
  Diagnostics diagnostics;
  const auto runtimes = LoadRuntimes(book_->directories, &diagnostics);
  const auto runtime = runtimes ? runtimes->Find(engine, &diagnostics) : nullptr;
  if (runtime == nullptr) return ToError(diagnostics);
  auto as = ComparePlan(plan.internal(), *runtime, &diagnostics);
  if (!as) return ToError(diagnostics);
  auto state = std::make_shared<EnginePlan::State>(
      EnginePlan::State{std::move(*as), plan, {}, diagnostics, PlanFindings(diagnostics)});
  for (const AsModule& module : state->as.modules)
    state->modules.push_back(Describe(plan.internal(), module));
  return EnginePlan(std::move(state));
}

Result<SkipAnswer> RuleBook::Ask(std::string_view question) const {
  Diagnostics diagnostics;
  const auto row = ParseJson("question", std::string(question), {}, &diagnostics);
  if (!row) return ToError(diagnostics);
  const auto answer = AskRow(book_->dialects, *row, &diagnostics);
  if (!answer) return ToError(diagnostics);
  return SkipAnswer{std::string(VerdictName(answer->verdict)), answer->reason, answer->code};
}

std::vector<std::string> RuleBook::model_types() const {
  std::vector<std::string> types;
  for (const auto& [type, file] : book_->by_model_type) types.push_back(type);
  return types;
}

Result<std::unique_ptr<RuleStore>> RuleStore::Open(std::vector<std::string> overlays) {
  Result<RuleBook> book = RuleBook::Load(overlays);
  if (!book) return book.error();
  return std::unique_ptr<RuleStore>(new RuleStore(std::move(overlays), std::move(*book)));
}

std::string RuleStore::Reload() {
  Result<RuleBook> book = RuleBook::Load(overlays_);
  if (!book) return book.error().message;
  book_.store(std::make_shared<const RuleBook>(std::move(*book)));
  return {};
}

}  // namespace ferrule
