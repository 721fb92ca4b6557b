// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/ask.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/lists/name_match.h"

namespace ferrule {
namespace {

std::string_view LastSegment(std::string_view path) {
  return path.substr(path.rfind('.') + 1);  // npos + 1 = 0
}

// Whether `name` is the path or its last whole segments.
bool IsNameOf(std::string_view name, std::string_view path) {
  if (name.size() > path.size() || path.substr(path.size() - name.size()) != name) return false;
  return name.size() == path.size() || path[path.size() - name.size() - 1] == '.';
}

bool Names(const std::vector<std::string>& names, std::string_view path) {
  return std::any_of(names.begin(), names.end(),
                     [&](const std::string& name) { return IsNameOf(name, path); });
}

Renames WithoutDots(Renames renames) {
  for (auto& [from, to] : renames)
    for (std::string* side : {&from, &to})
      if (side->size() > 1 && side->back() == '.') side->pop_back();
  return renames;
}

AskAnswer Fail(Code code, std::string reason) {
  return {Verdict::kError, std::move(reason), CodeName(code)};
}

class Asker {
 public:
  // `named`: what is quantized by name, if the dialect and the question have such a list.
  Asker(const Question& question, SkipList list, std::optional<SkipList> named)
      : q_(question), list_(std::move(list)), named_(std::move(named)) {}

  AskAnswer Run() const {
    const std::string_view last = LastSegment(q_.module);
    const auto claim = std::find_if(q_.fused.begin(), q_.fused.end(),
                                    [&](const FusedClaim& f) { return f.name == last; });
    const bool real = Names(q_.stored, q_.module);
    if (claim == q_.fused.end() || real) {
      if (!q_.stored.empty() && !real)
        return Fail(Code::kMissingTensor,
                    fmt::format("`{}` is not stored, and nothing says what it is made of", last));
      return One(q_.module);
    }
    return Fused(*claim);
  }

 private:
  bool Stored(const std::string& path) const {
    return !Names(q_.absent, path) && (q_.stored.empty() || Names(q_.stored, path));
  }

  AskAnswer Fused(const FusedClaim& claim) const {
    const std::string parent =
        q_.module.substr(0, q_.module.size() - LastSegment(q_.module).size());
    const Hit own = list_.MatchLiteral(q_.module);
    const Hit named = named_ ? named_->MatchLiteral(q_.module) : Hit();
    std::vector<std::pair<std::string_view, AskAnswer>> parts;
    for (const std::string& part : claim.parts) {
      const std::string path = parent + part;
      if (!Stored(path)) continue;
      parts.emplace_back(part, Dtype(path) ? One(path)
                               : own       ? Listed(own)
                               : named     ? Named(named)
                                           : One(path));
    }
    if (parts.empty())
      return Fail(Code::kMissingTensor,
                  fmt::format("neither `{}` nor one of its parts {} is stored", claim.name,
                              fmt::join(claim.parts, ", ")));
    std::string all;
    bool agree = true;
    for (const auto& [part, answer] : parts) {
      if (answer.verdict == Verdict::kError) return answer;
      agree = agree && answer.verdict == parts[0].second.verdict;
      all += fmt::format("{}`{}` {} ({})", all.empty() ? "" : ", ", part,
                         VerdictName(answer.verdict), answer.reason);
    }
    if (!agree)
      return Fail(Code::kPartsDisagree,
                  fmt::format("the parts of `{}` disagree: {}", q_.module, all));
    return {parts[0].second.verdict, own ? Listed(own).reason : all, ""};
  }

  // What tensors of the module, or of all modules below it, are stored as.
  std::optional<Verdict> Dtype(std::string_view path) const {
    std::optional<Verdict> verdict;
    for (const auto& [name, dtype] : q_.dtypes) {
      std::string_view module = name;
      if (LastSegment(module) == "weight") module.remove_suffix(module == "weight" ? 6 : 7);
      const bool below = module.size() > path.size() && module.substr(0, path.size()) == path &&
                         module[path.size()] == '.';
      if (!below && !IsNameOf(module, path)) continue;
      const Verdict one = dtype == DType::kBF16 || dtype == DType::kF16 || dtype == DType::kF32
                              ? Verdict::kSkip
                              : Verdict::kQuant;
      if (verdict && *verdict != one) return Verdict::kError;
      verdict = one;
    }
    return verdict;
  }

  AskAnswer One(const std::string& path) const {
    if (const std::optional<Verdict> stored = Dtype(path)) {
      if (*stored == Verdict::kError)
        return Fail(Code::kExpertsDisagree,
                    fmt::format("tensors below `{}` are stored in different schemes", path));
      return {*stored,
              *stored == Verdict::kSkip ? "stored in BF16, F16 or F32" : "stored quantized", ""};
    }
    if (const Hit hit = list_.Match(path)) return Listed(hit);
    if (named_) {
      if (const Hit hit = named_->Match(path)) return Named(hit);
      return {Verdict::kSkip, "it is not named among what is quantized", ""};
    }
    // A container of which only something is named: the rest cannot be known from here.
    for (size_t i = 0; i < list_.size(); ++i) {
      const std::string& name = list_.name(i);
      if (list_.is_pattern(i) || name.size() <= path.size() ||
          name.compare(0, path.size(), path) != 0 || name[path.size()] != '.')
        continue;
      const std::string_view rest = std::string_view(name).substr(path.size() + 1);
      if (rest == "weight" || rest == "bias") continue;  // a tensor of the module itself
      return Fail(Code::kExpertsDisagree, fmt::format("{} names a module below `{}`, not all of it",
                                                      Quoted(list_.entry(i).text), path));
    }
    return {Verdict::kQuant, "no entry names it", ""};
  }

  AskAnswer Listed(const Hit& hit) const {
    return {Verdict::kSkip,
            fmt::format("{} [{}] ({})", Quoted(list_.entry(static_cast<size_t>(hit.entry)).text),
                        hit.entry, PrimitiveName(hit.how)),
            ""};
  }

  AskAnswer Named(const Hit& hit) const {
    return {Verdict::kQuant,
            fmt::format("{} [{}] ({})", Quoted(named_->entry(static_cast<size_t>(hit.entry)).text),
                        hit.entry, PrimitiveName(hit.how)),
            ""};
  }

  const Question& q_;
  const SkipList list_;
  const std::optional<SkipList> named_;
};

}  // namespace

std::string_view VerdictName(Verdict verdict) {
  return verdict == Verdict::kSkip ? "skip" : verdict == Verdict::kQuant ? "quant" : "error";
}

AskAnswer Ask(const Dialect& dialect, const Question& question) {
  if (question.module.empty()) return Fail(Code::kUnknownModule, "the module has no path");
  if (question.tp < 1)
    return Fail(Code::kBadTp, fmt::format("tp must be at least 1, not {}", question.tp));
  const Renames renames = WithoutDots(question.renames);
  Diagnostics out;
  const auto compile = [&](const Matching& matching, const std::vector<std::string>& names,
                           SkipList::Use use) {
    std::vector<ListEntry> entries;
    for (std::string entry : names) {
      const bool pattern = matching.IsPattern(entry);
      const std::string& suffix = question.wrapper_suffix;
      if (!pattern && !suffix.empty() && entry.size() > suffix.size() && entry.ends_with(suffix))
        entry.resize(entry.size() - suffix.size());
      if (!pattern) entry = ApplyRenames(entry, renames, true);
      entries.push_back({std::move(entry), {}});
    }
    return SkipList::Compile(matching, std::move(entries), {}, &out, use);
  };
  auto list = compile(dialect.list.names, question.list, SkipList::Use::kSkip);
  if (!list) return Fail(out.findings()[0].code, out.findings()[0].message);
  std::optional<SkipList> named;
  if (!question.include.empty() || !question.layers.empty()) {
    const bool layers = question.include.empty();
    if (layers ? dialect.layers.empty() : !dialect.only)
      return Fail(Code::kBadQuantConfig,
                  fmt::format("dialect `{}` has no list of what is quantized", dialect.name));
    named = compile(layers ? dialect.layers[0].names : dialect.only->names,
                    layers ? question.layers : question.include, SkipList::Use::kTargets);
    if (!named) return Fail(out.findings()[0].code, out.findings()[0].message);
  }
  AskAnswer answer = Asker(question, std::move(*list), std::move(named)).Run();
  if (answer.verdict != Verdict::kError && question.size % question.tp != 0)
    return Fail(Code::kUncuttable, fmt::format("{} rows or columns do not divide by tp {}",
                                               question.size, question.tp));
  return answer;
}

}  // namespace ferrule
