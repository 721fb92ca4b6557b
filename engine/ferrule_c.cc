// SPDX-License-Identifier: Apache-2.0
// The public interface for C over that for C++.
#include "engine/ferrule_c.h"

#include <cstdlib>
#include <cstring>

#include "engine/ferrule_c_handles.h"
#include "engine/text/json_writer.h"
#include "engine/text/version.h"

namespace ferrule {
namespace {

// Also given when there is no memory for an error.
ferrule_error& OutOfMemory() {
  static ferrule_error error{{Blame::kMachine, "out of memory\n"}};
  return error;
}
[[maybe_unused]] const ferrule_error& made_at_start = OutOfMemory();

char* Copy(const std::string& text) {
  auto* copy = static_cast<char*>(std::malloc(text.size() + 1));
  if (copy == nullptr) throw std::bad_alloc();
  std::memcpy(copy, text.c_str(), text.size() + 1);
  return copy;
}

// All of a Decision, with its texts, in one piece.
struct OwnedDecision : ferrule_decision {
  Decision decision;
  std::vector<const char*> parts;
  std::vector<std::vector<int64_t>> rows;
  std::vector<ferrule_rank> ranks;
  std::vector<const ferrule_rank*> rank_pointers;

  explicit OwnedDecision(Decision of) : ferrule_decision{}, decision(std::move(of)) {
    ferrule_decision& view = *this;
    const Decision& d = decision;
    parts = Pointers(d.parts);
    for (const RankRows& rank : d.ranks) {
      std::vector<int64_t>& ends = rows.emplace_back();
      for (const auto& [begin, end] : rank.rows) ends.insert(ends.end(), {begin, end});
      ranks.push_back({nullptr, rank.rows.size(), rank.first_column, rank.end_column});
    }
    for (size_t r = 0; r < ranks.size(); ++r) {
      ranks[r].rows = rows[r].data();
      rank_pointers.push_back(&ranks[r]);
    }
    view.module = d.module.c_str();
    view.kind = d.kind.c_str();
    view.scheme = d.scheme.c_str();
    view.claim = d.claim.c_str();
    view.stored = d.stored.c_str();
    view.dtype = d.dtype.c_str();
    view.parts = parts.data();
    view.part_count = parts.size();
    view.block_rows = d.block_rows;
    view.block_columns = d.block_columns;
    view.shape = d.shape.data();
    view.shape_count = d.shape.size();
    view.ranks = rank_pointers.data();
    view.rank_count = rank_pointers.size();
    view.reason = d.reason.c_str();
    view.entry = d.entry.c_str();
    view.entry_index = d.entry_index;
    view.rule_file = d.rule_file.c_str();
    view.rule_line = d.rule_line;
    view.tensor = d.tensor.c_str();
  }
};

}  // namespace

void GiveError(Error error, ferrule_error** to) noexcept {
  if (to == nullptr) return;
  *to = new (std::nothrow) ferrule_error{std::move(error)};
  if (*to == nullptr) *to = &OutOfMemory();
}
void GiveOutOfMemory(ferrule_error** to) noexcept {
  if (to != nullptr) *to = &OutOfMemory();
}
std::nullptr_t RefuseNull(const char* what, ferrule_error** error) {
  GiveError({Blame::kCommand, std::string("`") + what + "` is NULL\n"}, error);
  return nullptr;
}
std::vector<const char*> Pointers(const std::vector<std::string>& texts) {
  std::vector<const char*> pointers;
  pointers.reserve(texts.size());
  for (const std::string& text : texts) pointers.push_back(text.c_str());
  return pointers;
}

}  // namespace ferrule

using ferrule::Blame;
using ferrule::Copy;
using ferrule::Decision;
using ferrule::EnginePlan;
using ferrule::GiveError;
using ferrule::Guarded;
using ferrule::JsonWriter;
using ferrule::ModelPlan;
using ferrule::OutOfMemory;
using ferrule::OwnedDecision;
using ferrule::PlanFinding;
using ferrule::Pointers;
using ferrule::RefuseNull;
using ferrule::Result;
using ferrule::RuleBook;
using ferrule::SkipAnswer;

uint32_t ferrule_abi_version(void) { return FERRULE_ABI_VERSION; }
const char* ferrule_version(void) { return ferrule::kVersion; }

int ferrule_error_blame(const ferrule_error* error) {
  return error == nullptr ? 0 : static_cast<int>(error->error.blame);
}
const char* ferrule_error_message(const ferrule_error* error) {
  return error == nullptr ? "" : error->error.message.c_str();
}
void ferrule_error_free(ferrule_error* error) {
  if (error != &OutOfMemory()) delete error;
}
void ferrule_text_free(char* text) { std::free(text); }

ferrule_book* ferrule_book_load(const char* const* directories, size_t count,
                                ferrule_error** error) {
  return Guarded(error, [&]() -> ferrule_book* {
    std::vector<std::string> overlays;
    for (size_t i = 0; i < count; ++i) {
      if (directories == nullptr || directories[i] == nullptr)
        return RefuseNull("directories", error);
      overlays.emplace_back(directories[i]);
    }
    Result<RuleBook> book = RuleBook::Load(overlays);
    if (!book) {
      GiveError(book.error(), error);
      return nullptr;
    }
    auto made = std::make_unique<ferrule_book>(ferrule_book{*book, book->model_types(), {}});
    made->type_texts = Pointers(made->types);
    return made.release();
  });
}
const char* const* ferrule_book_model_types(const ferrule_book* book, size_t* count) {
  if (count != nullptr) *count = book == nullptr ? 0 : book->types.size();
  return book == nullptr ? nullptr : book->type_texts.data();
}
void ferrule_book_free(ferrule_book* book) { delete book; }

ferrule_plan* ferrule_plan_make(const ferrule_book* book, const char* directory, int32_t tp,
                                uint32_t flags, ferrule_error** error) {
  return Guarded(error, [&]() -> ferrule_plan* {
    if (book == nullptr) return RefuseNull("book", error);
    if (directory == nullptr) return RefuseNull("directory", error);
    if ((flags & ~FERRULE_ALLOW_ERRORS) != 0) {
      GiveError({Blame::kCommand, "`flags` has bits that this release does not know\n"}, error);
      return nullptr;
    }
    const Result<ModelPlan> plan =
        book->book.Plan(directory, {.tp = tp, .allow_errors = (flags & FERRULE_ALLOW_ERRORS) != 0});
    if (!plan) {
      GiveError(plan.error(), error);
      return nullptr;
    }
    std::unique_ptr<ferrule_plan> made(new ferrule_plan{*plan, {}, {}, {}, {}, {}});
    for (const PlanFinding& finding : made->plan.findings())
      made->findings.push_back({finding.code.c_str(), finding.slug.c_str(), finding.level.c_str(),
                                finding.message.c_str(), finding.where.c_str()});
    for (const ferrule_finding& finding : made->findings)
      made->finding_pointers.push_back(&finding);
    return made.release();
  });
}
void ferrule_plan_free(ferrule_plan* plan) { delete plan; }

const char* ferrule_plan_scheme(const ferrule_plan* plan, const char* module) {
  // INVARIANT: SchemeOf gives a whole std::string of the plan, or a literal.
  return plan == nullptr || module == nullptr ? "" : plan->plan.SchemeOf(module).data();
}
const char* const* ferrule_plan_modules(const ferrule_plan* plan, size_t* count) {
  const char* const* names = nullptr;
  if (plan != nullptr)
    names = Guarded(nullptr, [&]() -> const char* const* {
      std::call_once(plan->listed, [&] {
        plan->names = plan->plan.Modules();
        plan->name_texts = Pointers(plan->names);
      });
      return plan->name_texts.data();
    });
  if (count != nullptr) *count = names == nullptr ? 0 : plan->name_texts.size();
  return names;
}
int ferrule_plan_has_errors(const ferrule_plan* plan) {
  return plan != nullptr && plan->plan.has_errors() ? 1 : 0;
}
int32_t ferrule_plan_tp(const ferrule_plan* plan) { return plan == nullptr ? 0 : plan->plan.tp(); }
const char* ferrule_plan_summary(const ferrule_plan* plan) {
  return plan == nullptr ? "" : plan->plan.Summary().c_str();
}
const char* ferrule_plan_sha(const ferrule_plan* plan) {
  return plan == nullptr ? "" : plan->plan.sha().c_str();
}
char* ferrule_plan_report(const ferrule_plan* plan) {
  return Guarded(nullptr,
                 [&]() -> char* { return plan == nullptr ? nullptr : Copy(plan->plan.Report()); });
}
char* ferrule_plan_json(const ferrule_plan* plan, int expand) {
  return Guarded(nullptr, [&]() -> char* {
    return plan == nullptr ? nullptr : Copy(plan->plan.Json(expand != 0));
  });
}
const ferrule_finding* const* ferrule_plan_findings(const ferrule_plan* plan, size_t* count) {
  if (count != nullptr) *count = plan == nullptr ? 0 : plan->findings.size();
  return plan == nullptr ? nullptr : plan->finding_pointers.data();
}

ferrule_decision* ferrule_plan_decision(const ferrule_plan* plan, const char* module,
                                        ferrule_error** error) {
  return Guarded(error, [&]() -> ferrule_decision* {
    if (plan == nullptr) return RefuseNull("plan", error);
    if (module == nullptr) return RefuseNull("module", error);
    Result<Decision> decision = plan->plan.Require(module);
    if (decision) return new OwnedDecision(std::move(*decision));
    GiveError(decision.error(), error);
    return nullptr;
  });
}
void ferrule_decision_free(ferrule_decision* decision) {
  delete static_cast<OwnedDecision*>(decision);  // none is made otherwise
}

char* ferrule_plan_as_json(const ferrule_book* book, const ferrule_plan* plan, const char* engine,
                           int expand, ferrule_error** error) {
  return Guarded(error, [&]() -> char* {
    if (book == nullptr) return RefuseNull("book", error);
    if (plan == nullptr) return RefuseNull("plan", error);
    if (engine == nullptr) return RefuseNull("engine", error);
    const Result<EnginePlan> as = book->book.PlanAs(plan->plan, engine);
    if (as) return Copy(as->Json(expand != 0));
    GiveError(as.error(), error);
    return nullptr;
  });
}

char* ferrule_ask(const ferrule_book* book, const char* question_json, ferrule_error** error) {
  return Guarded(error, [&]() -> char* {
    if (book == nullptr) return RefuseNull("book", error);
    if (question_json == nullptr) return RefuseNull("question_json", error);
    const Result<SkipAnswer> answer = book->book.Ask(question_json);
    if (!answer) {
      GiveError(answer.error(), error);
      return nullptr;
    }
    JsonWriter out;
    out.BeginObject().Key("verdict").Text(answer->verdict).Key("reason").Text(answer->reason);
    out.Key("code").TextOrNull(answer->code).EndObject();
    return Copy(out.Take());
  });
}
