// SPDX-License-Identifier: Apache-2.0
#include "engine/report/plan_diff.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

namespace ferrule {
namespace {

// Rows of one rank that do not end on a block, as a reason; empty when all do.
std::string BrokenBlocks(const ModuleState& state) {
  if (state.block_n <= 0 || state.rank_rows.size() < 2) return {};
  const int64_t rows = state.shape.size() >= 2 ? state.shape[state.shape.size() - 2] : 0;
  for (const std::vector<int64_t>& ranges : state.rank_rows)
    for (size_t i = 0; i + 1 < ranges.size(); i += 2) {
      const int64_t size = ranges[i + 1] - ranges[i];
      if (size == rows || size % state.block_n == 0) continue;
      return fmt::format("a rank would hold {} rows, {} % {} = {}", size, size, state.block_n,
                         size % state.block_n);
    }
  return {};
}

std::string Unsafe(const ModuleState* before, const ModuleState& after) {
  const std::string& stored =
      !after.stored.empty() || before == nullptr ? after.stored : before->stored;
  const std::string& runs = Runs(after);
  if (before != nullptr && !before->stored.empty() && before->kind != "fused" &&
      after.kind == "fused")
    return fmt::format("it is stored as one {} tensor, and {} would be looked for instead",
                       before->stored, fmt::join(after.parts, ", "));
  if (!stored.empty() && !runs.empty() && runs != stored)
    return fmt::format("it is stored as {} and would run as {}{}", stored, runs,
                       after.refused.empty() ? "" : "; " + after.refused);
  if (!after.refused.empty() && (before == nullptr || before->refused.empty()))
    return after.refused;
  const bool flips =
      before == nullptr || before->scheme != after.scheme || before->rank_rows != after.rank_rows;
  if (!flips) return {};
  if (before != nullptr && !before->rank_rows.empty() && after.rank_rows.empty())
    return "it cannot be cut any more";
  const std::string broken = BrokenBlocks(after);
  return before != nullptr && !broken.empty() && !BrokenBlocks(*before).empty() ? "" : broken;
}

ChangeKind KindOf(const ModuleState& before, const ModuleState& after) {
  if (Runs(before) != Runs(after)) return ChangeKind::kScheme;
  if (before.kind != after.kind || before.parts != after.parts) return ChangeKind::kKind;
  if (before.claim != after.claim) return ChangeKind::kScheme;
  if (before.refused != after.refused) return ChangeKind::kRefusal;
  return before.shape != after.shape ? ChangeKind::kShape : ChangeKind::kShards;
}

// What the rule says, stored data aside: headers do not change between two sides.
bool SameDecision(const ModuleState& a, const ModuleState& b) {
  return a.kind == b.kind && a.claim == b.claim && a.scheme == b.scheme && a.shape == b.shape &&
         a.parts == b.parts && a.refused == b.refused && a.rank_rows == b.rank_rows &&
         a.rank_columns == b.rank_columns;
}

class Comparer {
 public:
  Comparer(const PlanState& before, const PlanState& after) : before_(before), after_(after) {}

  PlanDiff Run() {
    auto old_at = before_.modules.begin();
    auto new_at = after_.modules.begin();
    while (old_at != before_.modules.end() || new_at != after_.modules.end()) {
      const int order = old_at == before_.modules.end()  ? 1
                        : new_at == after_.modules.end() ? -1
                                                         : old_at->first.compare(new_at->first);
      if (order == 0)
        Both((old_at++)->second, *new_at++);
      else if (order < 0)
        One(*old_at++, before_, true);
      else
        One(*new_at++, after_, false);
    }
    for (auto& [key, change] : changes_) {
      diff_.changed += change.count;
      if (!change.unsafe.empty()) diff_.unsafe += change.count;
      diff_.changes.push_back(std::move(change));
    }
    std::stable_sort(
        diff_.changes.begin(), diff_.changes.end(),
        [](const Change& a, const Change& b) { return a.unsafe.empty() < b.unsafe.empty(); });
    Errors(before_.errors, after_.errors, &diff_.new_errors);
    Errors(after_.errors, before_.errors, &diff_.gone_errors);
    return std::move(diff_);
  }

 private:
  using Named = std::pair<const std::string, PlanState::Entry>;

  void Both(const PlanState::Entry& old_entry, const Named& now) {
    const ModuleState& before = before_.states[old_entry.state];
    const ModuleState& after = after_.states[now.second.state];
    if (SameDecision(before, after)) return;
    Change& change = changes_[{now.second.group, static_cast<int64_t>(old_entry.state),
                               static_cast<int64_t>(now.second.state)}];
    if (change.count++ > 0) return;
    change.kind = KindOf(before, after);
    change.name = after_.groups[now.second.group];
    change.example = now.first;
    change.old_state = static_cast<int64_t>(old_entry.state);
    change.new_state = static_cast<int64_t>(now.second.state);
    change.unsafe = Unsafe(&before, after);
  }

  void One(const Named& module, const PlanState& side, bool gone) {
    const int64_t state = static_cast<int64_t>(module.second.state);
    Change& change = changes_[{module.second.group, gone ? state : -1, gone ? -1 : state}];
    if (change.count++ > 0) return;
    change.kind = gone ? ChangeKind::kGone : ChangeKind::kNew;
    change.name = side.groups[module.second.group];
    change.example = module.first;
    (gone ? change.old_state : change.new_state) = state;
    if (!gone) change.unsafe = Unsafe(nullptr, side.states[module.second.state]);
  }

  static void Errors(const std::vector<ErrorLine>& known, const std::vector<ErrorLine>& of,
                     std::vector<ErrorLine>* out) {
    for (const ErrorLine& error : of)
      if (std::find(known.begin(), known.end(), error) == known.end()) out->push_back(error);
  }

  const PlanState& before_;
  const PlanState& after_;
  // group, old state, new state
  std::map<std::tuple<size_t, int64_t, int64_t>, Change> changes_;
  PlanDiff diff_;
};

}  // namespace

const std::string& Runs(const ModuleState& state) {
  return state.scheme.empty() ? state.claim : state.scheme;
}

std::string_view ChangeName(ChangeKind kind) {
  constexpr std::string_view kNames[] = {"scheme",  "kind", "shape", "shards",
                                         "refusal", "new",  "gone"};
  return kNames[static_cast<size_t>(kind)];
}

PlanDiff Compare(const PlanState& before, const PlanState& after) {
  return Comparer(before, after).Run();
}

}  // namespace ferrule
