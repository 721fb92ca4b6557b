// SPDX-License-Identifier: Apache-2.0
#include "engine/infer/infer_dims.h"

#include <fmt/format.h>

#include <algorithm>

namespace ferrule {
namespace {

bool Contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// Numbers of a config that are no size of a tensor.
bool IsNoSize(std::string_view name) {
  for (const std::string_view part :
       {"token_id", "position_embeddings", "window", "version", "theta", "interval", "per_tok",
        "topk", "max_", "seed", "_id", "sections"})
    if (Contains(name, part)) return !Contains(name, "num_position_embeddings");
  return false;
}

bool IsCount(std::string_view name) { return Contains(name, "heads") || Contains(name, "groups"); }
bool IsWidth(std::string_view name) { return Contains(name, "dim") || Contains(name, "rank"); }

bool IsName(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_';
  }) && std::isdigit(static_cast<unsigned char>(text[0])) == 0;
}

}  // namespace

std::optional<int64_t> ValueOf(const std::string& expression, const ConfigScope& config) {
  std::string error;
  int column = 0;
  const auto parsed = Expr::Parse(expression, &error, &column);
  if (!parsed) return std::nullopt;
  const Answer answer = parsed->Evaluate(config);
  if (!answer.ok() || answer.value.kind != ExprValue::Kind::kInt) return std::nullopt;
  return answer.value.number;
}

DimGuess::DimGuess(const JsonValue& config, const JsonValue& section) {
  if (section) Collect(section, "");
  Collect(config, "");
}

void DimGuess::Collect(const JsonValue& object, const std::string& prefix) {
  for (const JsonValue value : object) {
    if (!IsName(value.name())) continue;
    const std::string name = prefix + std::string(value.name());
    const bool known = std::any_of(numbers_.begin(), numbers_.end(),
                                   [&](const Number& number) { return number.name == name; });
    if (known || name == "quantization_config") continue;
    if (const auto number = value.AsInt()) {
      if (*number > 0) numbers_.push_back({name, *number, Contains(name, "vision")});
    } else if (value.is_object()) {
      if (prefix.empty()) Collect(value, name + ".");
    } else if (value.is_array()) {
      Sequence sequence{name, {}};
      for (const JsonValue item : value) {
        if (item.is_string() && !Contains(item.Text(), "'"))
          sequence.items.push_back(fmt::format("'{}'", item.Text()));
        else if (const auto n = item.AsInt())
          sequence.items.push_back(std::to_string(*n));
      }
      if (sequence.items.size() == value.size()) sequences_.push_back(std::move(sequence));
    } else if (value.is_string() && Contains(name, "pattern")) {
      Sequence sequence{name, {}};
      for (const char c : value.Text()) sequence.items.push_back(fmt::format("'{}'", c));
      sequences_.push_back(std::move(sequence));
    }
  }
}

std::vector<const DimGuess::Number*> DimGuess::For(std::string_view path) const {
  const bool vision = Contains(path, "vis");
  std::vector<const Number*> out;
  for (const Number& number : numbers_)
    if (!IsNoSize(number.name)) out.push_back(&number);
  // Of the other part last; within a part sizes before counts.
  std::stable_sort(out.begin(), out.end(), [&](const Number* a, const Number* b) {
    const auto rank = [&](const Number* n) {
      return (n->vision == vision ? 0 : 4) + (Contains(n->name, "size") ? 0
                                              : IsWidth(n->name)        ? 1
                                                                        : 2);
    };
    return rank(a) < rank(b);
  });
  return out;
}

std::string DimGuess::Name(int64_t value, std::string_view path) const {
  for (const Number* number : For(path))
    if (number->value == value) return number->name;
  return {};
}

std::string DimGuess::Expression(int64_t value, std::string_view path) const {
  if (value <= 4) return std::to_string(value);
  if (std::string name = Name(value, path); !name.empty()) return name;
  const std::vector<const Number*> numbers = For(path);
  for (const Number* a : numbers)  // heads * head_dim
    for (const Number* b : numbers)
      if (IsCount(a->name) && IsWidth(b->name) && a->value * b->value == value)
        return fmt::format("{} * {}", a->name, b->name);
  for (const int64_t times : {2, 3, 4})
    for (const Number* a : numbers)
      if (a->value * times == value && a->value > 4) return fmt::format("{} * {}", times, a->name);
  for (const Number* a : numbers)  // an old config's head_dim
    for (const Number* b : numbers)
      if (Contains(a->name, "hidden_size") && IsCount(b->name) && a->value == value * b->value)
        return fmt::format("{} / {}", a->name, b->name);
  for (const Number* a : numbers)  // kv_lora_rank + qk_rope_head_dim
    for (const Number* b : numbers)
      if (IsWidth(a->name) && IsWidth(b->name) && a != b && a->value + b->value == value)
        return fmt::format("{} + {}", a->name, b->name);
  for (const Number* a : numbers)  // heads * (nope + rope)
    for (const Number* b : numbers)
      for (const Number* c : numbers)
        if (IsCount(a->name) && IsWidth(b->name) && IsWidth(c->name) && b < c &&
            a->value * (b->value + c->value) == value)
          return fmt::format("{} * ({} + {})", a->name, b->name, c->name);
  for (const Number* a : numbers)
    for (const Number* b : numbers)
      if (a->value > 4 && b->value > 1 && a->value * b->value == value)
        return fmt::format("{} * {}", a->name, b->name);
  return std::to_string(value);
}

std::string DimGuess::Condition(const std::string& index, const std::set<uint32_t>& wanted,
                                const std::set<uint32_t>& all) const {
  const auto holds = [&](const auto& test) {
    return std::all_of(all.begin(), all.end(),
                       [&](uint32_t n) { return test(int64_t{n}) == (wanted.count(n) > 0); });
  };
  for (const Sequence& sequence : sequences_) {
    if (sequence.items.size() <= *all.rbegin()) continue;
    const std::string item = sequence.items[*wanted.begin()];
    const auto same = [&](int64_t n) { return sequence.items[static_cast<size_t>(n)] == item; };
    if (holds(same)) return fmt::format("{}({}) == {}", sequence.name, index, item);
    for (const uint32_t other : all) {
      if (wanted.count(other) > 0) continue;
      const std::string& not_item = sequence.items[other];
      if (holds([&](int64_t n) { return sequence.items[static_cast<size_t>(n)] != not_item; }))
        return fmt::format("{}({}) != {}", sequence.name, index, not_item);
      break;
    }
  }
  for (const Number& number : numbers_) {
    if (holds([&](int64_t n) { return n < number.value; }))
      return fmt::format("{} < {}", index, number.name);
    if (holds([&](int64_t n) { return n >= number.value; }))
      return fmt::format("{} >= {}", index, number.name);
  }
  for (const Number& number : numbers_) {
    const int64_t k = number.value;
    const std::string& name = number.name;
    if (k < 2 || k >= static_cast<int64_t>(all.size())) continue;
    if (holds([&](int64_t n) { return (n + 1) % k == 0; }))
      return fmt::format("({} + 1) % {} == 0", index, name);
    if (holds([&](int64_t n) { return (n + 1) % k != 0; }))
      return fmt::format("({} + 1) % {} != 0", index, name);
    if (holds([&](int64_t n) { return n % k == 0; }))
      return fmt::format("{} % {} == 0", index, name);
    if (holds([&](int64_t n) { return n % k != 0; }))
      return fmt::format("{} % {} != 0", index, name);
  }
  // Runs of numbers, as they are.
  std::string text;
  for (auto at = wanted.begin(); at != wanted.end();) {
    const uint32_t first = *at;
    uint32_t last = first;
    while (++at != wanted.end() && *at == last + 1) last = *at;
    text += text.empty() ? "" : " or ";
    text += first == last ? fmt::format("{} == {}", index, first)
                          : fmt::format("({0} >= {1} and {0} <= {2})", index, first, last);
  }
  return text;
}

}  // namespace ferrule
