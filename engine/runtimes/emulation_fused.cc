// SPDX-License-Identifier: Apache-2.0
// Fused names: which map has them, what their parts are called, and what follows when parts differ.
#include <algorithm>

#include "engine/runtimes/emulation_state.h"

namespace ferrule {
namespace {

bool ContainedOnce(std::string_view key, std::string_view name) {
  const size_t first = name.find(key);
  return !key.empty() && first != std::string_view::npos &&
         name.find(key, first + key.size()) == std::string_view::npos;
}

}  // namespace

// The first map that has the name; under `contained-once` every key that the name holds, in order.
std::vector<Emulator::Fused> Emulator::FindFused(const Frame& frame) const {
  const FusedRule& rule = frame.function->fused;
  std::vector<Fused> found;
  for (const std::string& source : rule.maps) {
    const FusedMap* map = source == "argument" ? frame.map : frame.home->Table(source);
    if (map == nullptr) continue;
    for (const auto& [key, parts] : *map) {
      const bool named = rule.key == FusedKey::kLastSegment ? key == LastSegment(frame.name)
                         : rule.key == FusedKey::kSuffix    ? HasSuffix(key, frame.name)
                                                            : ContainedOnce(key, frame.name);
      if (named) found.push_back({key, &parts});
      if (named && rule.key != FusedKey::kContainedOnce) return found;
    }
  }
  return found;
}

std::string Emulator::Rewritten(const Frame& frame, const Fused& fused,
                                const std::string& part) const {
  const std::string_view name = frame.name;
  switch (frame.function->fused.rewrite) {
    case Rewrite::kEvery:
      return ReplaceEvery(name, fused.key, part);
    case Rewrite::kSuffix:
      return std::string(name.substr(0, name.size() - fused.key.size())) + part;
    case Rewrite::kBase:
      break;
  }
  return std::string(name.substr(0, name.rfind('.'))) + "." + part;
}

// The names whose answers are put together: the parts of each fused name, or a list's entries.
std::vector<std::vector<std::string>> Emulator::Groups(const Step& step, const Frame& frame) {
  std::vector<std::vector<std::string>> groups;
  if (!step.of.empty()) {
    const auto made = frame.gathered->find(step.of);
    if (made != frame.gathered->end()) {
      if (!made->second.empty()) groups.push_back(made->second);
      return groups;
    }
    for (const QuestionEntry& entry : List(step.of, frame)) {
      if (groups.empty()) groups.emplace_back();
      groups[0].push_back(entry.text);
    }
    return groups;
  }
  for (const Fused& fused : FindFused(frame)) {
    groups.emplace_back();
    for (const std::string& part : *fused.parts)
      groups.back().push_back(Rewritten(frame, fused, part));
  }
  return groups;
}

Emulator::Decision Emulator::Parts(const Step& step, const Frame& frame) {
  for (const std::vector<std::string>& group : Groups(step, frame)) {
    std::vector<Frame> frames;
    for (const std::string& name : group) {
      frames.push_back(frame);
      frames.back().name = name;
      frames.back().whole = frame.name;
    }
    bool wanted = step.if_any.empty();
    for (const Test& test : step.if_any)
      for (const Frame& part : frames) {
        if (wanted) break;
        const Truth truth = Holds(test, part);
        if (truth == Truth::kRaised) return Raised();
        if (truth == Truth::kUnknown) return Unsupported();
        wanted = truth == Truth::kYes;
      }
    if (!wanted) continue;
    std::vector<Decision> parts;
    Decision out;
    for (const Frame& part : frames) {
      parts.push_back(Steps(step.then, part));
      const Decision& last = parts.back();
      if (last && (last->is_error() || last->result == "unsupported")) return last;
      if (!step.eager && Agree(step, parts, &out)) return out;
    }
    if (step.eager && Agree(step, parts, &out)) return out;
    if (step.absent_ignored)
      parts.erase(std::remove(parts.begin(), parts.end(), Decision()), parts.end());
    const bool all = std::count(parts.begin(), parts.end(), Decision()) == 0;
    if (!parts.empty() && all) return parts[0];
    if (!step.absent_ignored || frame.function->fused.key != FusedKey::kContainedOnce)
      return std::nullopt;
  }
  return std::nullopt;
}

// Whether what is known of the parts settles the answer. `any` and `all`: one part that says skip,
// or quant, speaks for all. `first`: the first speaks, where all have an answer. Else parts that
// differ are an error of the class that is named.
bool Emulator::Agree(const Step& step, const std::vector<Decision>& parts, Decision* out) {
  const auto says = [&](std::string_view result) {
    return std::any_of(parts.begin(), parts.end(),
                       [&](const Decision& part) { return part && part->result == result; });
  };
  if (step.disagree == "any" || step.disagree == "all") {
    const std::string_view decides = step.disagree == "any" ? "skip" : "quant";
    if (says(decides)) *out = RuntimeAnswer{std::string(decides), "", {}};
    return out->has_value();
  }
  if (step.disagree == "first") return false;
  const Decision* first = nullptr;
  for (const Decision& part : parts) {
    if (step.absent_ignored && !part) continue;
    if (first == nullptr) first = &part;
    if (*first == part) continue;
    error_ = step.disagree;
    *out = Raised();
    return true;
  }
  return false;
}

}  // namespace ferrule
