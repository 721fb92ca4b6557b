// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/dead_entries.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "engine/plan/grouped.h"

namespace ferrule {
namespace {

// A name as a regular expression: only the dot means something in it.
std::string Escaped(std::string_view name) {
  std::string out;
  for (const char c : name) out += c == '.' ? std::string("\\.") : std::string(1, c);
  return out;
}

class Reporter {
 public:
  Reporter(int8_t where, const std::vector<bool>& used, Decisions* decisions, Diagnostics* out)
      : where_(where), used_(used), d_(*decisions), list_(d_.quant.ListIn(where)), out_(out) {}

  void Run() {
    std::unordered_map<std::string, int64_t> seen, templates;
    std::vector<std::pair<size_t, int64_t>> again;  // second entry of a name, and how many of it
    for (size_t entry = 0; entry < list_.size(); ++entry) {
      const std::string& name = list_.name(entry);
      const std::string& text = d_.quant.TextOf(where_, static_cast<int32_t>(entry));
      // The first of a name is at -1.
      const auto [at, fresh] = seen.emplace(text, -1);
      if (!fresh && at->second < 0) {
        at->second = static_cast<int64_t>(again.size());
        again.emplace_back(entry, 1);
      }
      if (!fresh) ++again[static_cast<size_t>(at->second)].second;
      if (used_[entry] || (!list_.is_pattern(entry) && NamesSomething(name))) continue;
      if (where_ == kInList) d_.dead.push_back(static_cast<int32_t>(entry));
      NormalName normal;
      const std::string key =
          !list_.is_pattern(entry) && Normalise(name, &normal) ? std::string(normal.view()) : name;
      const int64_t group =
          templates.emplace(key, static_cast<int64_t>(templates.size())).first->second;
      if (const std::string range = OtherNumbers(name); !range.empty())
        OutOfRange(entry, text, range, group);
      else
        Dead(entry, text, group);
    }
    for (const auto& [entry, count] : again) Again(entry, count);
    grouped_.Flush(out_);
  }

 private:
  void Again(size_t entry, int64_t count) {
    const std::string& text = d_.quant.TextOf(where_, static_cast<int32_t>(entry));
    const std::string times = count == 2 ? "twice" : fmt::format("{} times", count);
    out_->Add(Code::kDuplicateEntry,
              fmt::format("{} stands {} in `{}`", Quoted(text), times, d_.quant.KeyOf(where_)),
              list_.entry(entry).at);
  }

  void Dead(size_t entry, const std::string& text, int64_t group) {
    grouped_.Add(Code::kDeadEntry, nullptr, group, [&] {
      Finding finding(
          Code::kDeadEntry,
          fmt::format("{} in `{}` matches no module", Quoted(text), d_.quant.KeyOf(where_)),
          list_.entry(entry).at);
      finding.Fact("entries", "{n} of this form");
      finding.Fact("effect", "the entry decides nothing");
      if (list_.is_pattern(entry)) {
        if (list_.has_patterns())
          finding.Fact("note", "patterns are matched from the start of the path");
        return finding;
      }
      if (++named_ > Diagnostics::kMaxKept) return finding;  // it is counted, not shown
      const std::string& name = list_.name(entry);
      if (IsPlainGlob(name) && globs_++ < kMaxGlobs) {
        ExplainGlob(d_, Names(), name, &finding);
        return finding;
      }
      NormalName normal;
      if (Normalise(name, &normal) && Container(normal)) {
        finding.Fact("note", fmt::format("it holds modules, but a name in a list of dialect `{}` "
                                         "does not cover what is below it",
                                         d_.quant.dialect->name));
        const std::string& prefix = d_.quant.dialect->list.names.prefix;
        if (!prefix.empty())
          finding.Help(fmt::format("write `{}{}.*`", prefix, Escaped(name + ".")));
        return finding;
      }
      std::string nearest = NearestPath(d_, name);
      if (nearest.empty() && Normalise("model." + name, &normal) && Container(normal))
        nearest = "model." + name;
      if (!nearest.empty()) finding.Help(fmt::format("did you mean `{}`?", nearest));
      return finding;
    });
  }

  const Matching& Names() const {
    const QuantConfig& quant = d_.quant;
    return where_ == kInList   ? quant.dialect->list.names
           : where_ == kInOnly ? quant.dialect->only->names
                               : quant.layers[static_cast<size_t>(where_)].rule->names;
  }

  // Whether modules lie below a path that names none itself.
  bool Container(const NormalName& name) const {
    const std::string begin = std::string(name.view()) + ".";
    for (int32_t id = 0; id < static_cast<int32_t>(d_.paths.templates()); ++id) {
      if (d_.paths.Text(id).substr(0, begin.size()) != begin) continue;
      for (size_t i = 0; i < d_.paths.Count(id); ++i)
        if (std::equal(name.numbers, name.numbers + name.count, d_.paths.Numbers(id, i).begin()))
          return true;
    }
    return false;
  }

  void OutOfRange(size_t entry, const std::string& text, const std::string& range, int64_t group) {
    grouped_.Add(Code::kLayerOutOfRange, nullptr, group, [&] {
      Finding finding(Code::kLayerOutOfRange,
                      fmt::format("{} in `{}` matches no module: {}", Quoted(text),
                                  d_.quant.KeyOf(where_), range),
                      list_.entry(entry).at);
      finding.Fact("entries", "{n} of this form");
      finding.Fact("effect", "the entry decides nothing");
      finding.Help("draft layers (MTP) may be numbered on behind the last layer, or from 0");
      return finding;
    });
  }

  // First numbers of all modules at and below a path, in order. Found out once for each form.
  const std::vector<int32_t>& FirstNumbers(const std::string& own) {
    const auto [at, fresh] = first_numbers_.try_emplace(own);
    std::vector<int32_t>& numbers = at->second;
    if (!fresh) return numbers;
    for (int32_t id = 0; id < static_cast<int32_t>(d_.paths.templates()); ++id) {
      const std::string_view text = d_.paths.Text(id);
      if (text.substr(0, own.size()) != own ||
          (text.size() > own.size() && text[own.size()] != '.'))
        continue;
      for (size_t i = 0; i < d_.paths.Count(id); ++i) numbers.push_back(d_.paths.Numbers(id, i)[0]);
    }
    std::sort(numbers.begin(), numbers.end());
    numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
    return numbers;
  }

  // "`model.layers.<n>.mlp` has numbers from 0 to 47", when `name` is a path or container of the
  // model but for its first number, which no module of this form has; else empty.
  std::string OtherNumbers(std::string name) {
    while (!name.empty() && (name.back() == '*' || name.back() == '.')) name.pop_back();
    NormalName normal;
    if (list_.has_patterns() || name.find_first_of("*?[") != std::string::npos ||
        !Normalise(name, &normal) || normal.count == 0)
      return {};
    const std::vector<int32_t>& numbers = FirstNumbers(std::string(normal.view()));
    if (numbers.empty() || std::binary_search(numbers.begin(), numbers.end(), normal.numbers[0]))
      return {};
    const int32_t low = numbers.front(), high = numbers.back();
    std::string shown(normal.view());
    for (size_t at = 0; (at = shown.find('#', at)) != std::string::npos; at += 3)
      shown.replace(at, 1, "<n>");
    return low == high ? fmt::format("`{}` has the number {} only", shown, low)
                       : fmt::format("`{}` has numbers from {} to {}", shown, low, high);
  }

  // An entry may name the tensor of a module, a leftover, or a container.
  bool NamesSomething(const std::string& name) const {
    for (const std::string_view suffix : {".bias", ".weight"})
      if (name.size() > suffix.size() &&
          std::string_view(name).substr(name.size() - suffix.size()) == suffix &&
          d_.paths.At(std::string_view(name).substr(0, name.size() - suffix.size())) >= 0)
        return true;
    for (const auto& leftover : d_.rules->leftovers) {
      const std::string text = PathText(leftover);
      NormalName normal;
      if (!Normalise(name, &normal)) continue;
      std::string pattern;
      for (const Segment& segment : leftover) {
        if (!pattern.empty()) pattern += '.';
        pattern += segment.placeholder ? "#" : segment.text;
      }
      if (normal.view() == pattern) return true;
    }
    return false;
  }

  static constexpr int kMaxGlobs = 16;  // each is held against all modules

  int8_t where_;
  int globs_ = 0;
  size_t named_ = 0;
  const std::vector<bool>& used_;
  Decisions& d_;
  const SkipList& list_;
  Diagnostics* out_;
  Grouped grouped_;
  std::unordered_map<std::string, std::vector<int32_t>> first_numbers_;
};

}  // namespace

void ReportDead(int8_t where, const std::vector<bool>& used, Decisions* decisions,
                Diagnostics* out) {
  Reporter(where, used, decisions, out).Run();
}

}  // namespace ferrule
