// SPDX-License-Identifier: Apache-2.0
// A glob in a list of plain names: what its author thinks it names, and how to say that.
#include <fmt/format.h>

#include <algorithm>

#include "engine/lists/name_match.h"
#include "engine/plan/dead_entries.h"

namespace ferrule {
namespace {

constexpr std::string_view kSigns = "*?[";

// The whole segments behind the last sign, and those before the first; empty when there are none.
std::string_view Behind(std::string_view glob) {
  const size_t dot = glob.find('.', glob.find_last_of("*?]["));
  return dot == std::string_view::npos ? std::string_view() : glob.substr(dot + 1);
}
std::string_view Before(std::string_view glob) {
  const size_t dot = glob.substr(0, glob.find_first_of(kSigns)).rfind('.');
  return dot == std::string_view::npos ? std::string_view() : glob.substr(0, dot);
}

// `.*\.gate` for `*.gate`; empty where more than stars would have to be rewritten.
std::string AsRegex(std::string_view glob) {
  std::string out;
  for (const char c : glob) {
    if (std::string_view("?[](){}+|^$\\").find(c) != std::string_view::npos) return {};
    out += c == '*' ? ".*" : c == '.' ? "\\." : std::string(1, c);
  }
  return out;
}

}  // namespace

bool IsPlainGlob(std::string_view name) {
  return name.find_first_of(kSigns) != std::string_view::npos;
}

void ExplainGlob(const Decisions& decisions, const Matching& names, const std::string& glob,
                 Finding* finding) {
  const std::string_view tail = Behind(glob), head = Before(glob);
  int64_t meant = 0;
  bool same_tail =
      !tail.empty() && (names.Has(Primitive::kLastSegments) || names.Has(Primitive::kSegments));
  bool same_head =
      !head.empty() && (names.Has(Primitive::kAncestor) || names.Has(Primitive::kSegments));
  std::string example;
  for (int32_t id = 0; id < static_cast<int32_t>(decisions.modules.size()); ++id) {
    if (!IsLinear(decisions.UnitOf(id).kind) || decisions.modules[static_cast<size_t>(id)].absent)
      continue;
    const std::string path = decisions.PathOf(id);
    const bool hit = Glob(glob, path);
    if (hit && meant++ == 0) example = path;
    same_tail = same_tail && HasLastSegments(tail, path) == hit;
    same_head = same_head && IsAncestor(head, path) == hit;
  }
  finding->Fact("note", fmt::format("lists of dialect {} {}: a star there is a letter like others",
                                    Quoted(names.dialect),
                                    names.prefix.empty()
                                        ? "hold plain names"
                                        : fmt::format("hold plain names and, behind `{}`, patterns",
                                                      names.prefix)));
  if (meant == 0) {
    finding->Fact("as a glob", "it would name no linear either");
    return;
  }
  finding->Fact("as a glob", fmt::format("it would name {} linear{}, e.g. {}", meant,
                                         meant == 1 ? "" : "s", Quoted(example)));
  const std::string regex = names.prefix.empty() ? "" : AsRegex(glob);
  if (same_tail)
    finding->Help(fmt::format("write {}, which names the same", Quoted(std::string(tail))));
  else if (same_head)
    finding->Help(fmt::format("write {}, which names the same", Quoted(std::string(head))));
  else if (!regex.empty())
    finding->Help(fmt::format("write `{}{}$`", names.prefix, Printable(regex)));
  else
    finding->Help("write the names out");
}

}  // namespace ferrule
