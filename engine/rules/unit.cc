// SPDX-License-Identifier: Apache-2.0
// One unit's names, and what is stored under a name.
#include "engine/rules/units.h"

namespace ferrule {

std::vector<int32_t> Unit::NumbersOf(int32_t i) const {
  std::vector<int32_t> out = numbers;
  if (range >= 0) out[static_cast<size_t>(range)] += i;
  return out;
}

std::string Unit::Display() const {
  std::string out;
  size_t next = 0;
  for (const char c : path) {
    if (c != '#' || next >= index.size()) {
      out += c;
    } else if (index[next].empty()) {
      out += std::to_string(numbers[next++]);
    } else {
      out += "<" + index[next++] + ">";
    }
  }
  return out;
}

StoredNames::StoredNames(const PathTable* table) : table_(table) {
  if (table == nullptr) return;
  for (int32_t id = 0; id < static_cast<int32_t>(table->templates()); ++id) {
    const std::string_view text = table->Text(id);
    const size_t dot = text.rfind('.');
    if (dot == std::string_view::npos) continue;
    below_[std::string(text.substr(0, dot))].emplace_back(text.substr(dot + 1), id);
  }
}

const std::vector<std::pair<std::string_view, int32_t>>& StoredNames::Below(
    std::string_view path) const {
  static const std::vector<std::pair<std::string_view, int32_t>> kNone;
  const auto at = below_.find(path);
  return at == below_.end() ? kNone : at->second;
}

bool StoredNames::Has(std::string_view path, std::span<const int32_t> numbers) const {
  if (table_->At(table_->Find(path), numbers) >= 0) return true;
  for (const auto& [segment, id] : Below(path))
    if (table_->At(id, numbers) >= 0) return true;
  return false;
}

}  // namespace ferrule
