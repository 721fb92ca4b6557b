// SPDX-License-Identifier: Apache-2.0
#include "engine/grouped.h"

namespace ferrule {
namespace {

void Fill(std::string* text, const std::string& count) {
  for (size_t at = text->find("{n}"); at != std::string::npos; at = text->find("{n}"))
    text->replace(at, 3, count);
}

}  // namespace

void Grouped::Flush(Diagnostics* out) {
  for (Item& item : items_) {
    const std::string count = std::to_string(item.count);
    Fill(&item.finding.message, count);
    for (auto& [key, text] : item.finding.facts) Fill(&text, count);
    out->Add(std::move(item.finding));
  }
  items_.clear();
  index_.clear();
}

}  // namespace ferrule
