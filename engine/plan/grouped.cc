// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/grouped.h"

namespace ferrule {
namespace {

// "{n} modules" → "36 modules", "1 module".
void Fill(std::string* text, int64_t count) {
  for (size_t at = text->find("{n}"); at != std::string::npos; at = text->find("{n}")) {
    constexpr std::string_view kModules = "{n} modules";
    if (count == 1 && text->compare(at, kModules.size(), kModules) == 0)
      text->erase(at + kModules.size() - 1, 1);
    text->replace(at, 3, std::to_string(count));
  }
}

}  // namespace

void Grouped::Flush(Diagnostics* out) {
  for (Item& item : items_) {
    Fill(&item.finding.message, item.count);
    for (auto& [key, text] : item.finding.facts) Fill(&text, item.count);
    out->Add(std::move(item.finding));
  }
  items_.clear();
  index_.clear();
}

}  // namespace ferrule
