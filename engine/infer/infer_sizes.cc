// SPDX-License-Identifier: Apache-2.0
#include "engine/infer/infer_sizes.h"

#include <algorithm>

#include "engine/plan/stored_shape.h"

namespace ferrule {
namespace {

// Divides by every group, block and word.
constexpr int64_t kProbe = int64_t{1} << 16;

class OneSize : public ConfigScope {
 public:
  OneSize(const Scheme& scheme, int64_t rows, int64_t in)
      : rows_(rows), in_(in), bits_(scheme.bits), group_(scheme.group > 0 ? scheme.group : in) {}

  Answer Lookup(std::string_view name) const override {
    if (name == "rows") return Answer::Int(rows_);
    if (name == "in") return Answer::Int(in_);
    if (name == "group") return Answer::Int(group_);
    if (name == "groups") return Answer::Int((in_ + group_ - 1) / group_);
    if (name == "bits" && bits_ > 0) return Answer::Int(bits_);
    return Answer::Missing(name);
  }
  bool Has(std::string_view name) const override { return Lookup(name).ok(); }

 private:
  int64_t rows_, in_, bits_, group_;
};

// The sizes for which the expressions give `shape`; each must grow with one of the two.
std::optional<std::vector<int64_t>> Solve(const Scheme& scheme, const std::vector<Expr>& exprs,
                                          const std::vector<int64_t>& shape) {
  const int64_t probe = kProbe * std::max<int64_t>(scheme.group, 1);
  const auto at = [&](const Expr& expr, int64_t rows, int64_t in) {
    const Answer answer = expr.Evaluate(OneSize(scheme, rows, in));
    return answer.ok() && answer.value.kind == ExprValue::Kind::kInt ? answer.value.number : -1;
  };
  int64_t rows = 0, in = 0;
  const size_t experts = shape.size() - exprs.size();
  for (size_t i = 0; i < exprs.size(); ++i) {
    const int64_t stored = shape[experts + i], once = at(exprs[i], probe, probe);
    const bool by_rows = at(exprs[i], 2 * probe, probe) != once;
    const bool by_in = at(exprs[i], probe, 2 * probe) != once;
    if (once <= 0 || (by_rows && by_in)) return std::nullopt;
    if (!by_rows && !by_in) {
      if (stored != once) return std::nullopt;
      continue;
    }
    if (stored <= 0 || stored > kMaxSize / probe || stored * probe % once != 0) return std::nullopt;
    int64_t& size = by_rows ? rows : in;
    if (size != 0 && size != stored * probe / once) return std::nullopt;
    size = stored * probe / once;
  }
  if (rows == 0 || in == 0) return std::nullopt;
  std::vector<int64_t> sizes(shape.begin(), shape.begin() + static_cast<ptrdiff_t>(experts));
  sizes.insert(sizes.end(), {rows, in});
  return sizes;
}

class Candidate {
 public:
  Candidate(const Scheme& scheme, const std::vector<int64_t>& sizes) : scheme_(scheme) {
    unit_.node = &node_;
    unit_.rows = sizes[sizes.size() - 2];
    unit_.in = sizes.back();
    unit_.stack = sizes.size() == 3 ? sizes[0] : 0;
  }

  // How many of the tensors beside the weight have the shape that goes with these sizes, less those
  // that have another or should be there.
  int Agreement(const ShapeBeside& beside) const {
    int agree = 0;
    for (const StorageRule& rule : scheme_.rule->storage) {
      if (rule.role == "weight") continue;
      std::optional<std::vector<int64_t>> shape;
      for (const std::string& name : rule.names)
        if (!shape) shape = beside(name);
      if (shape)
        agree += ShapeOf(unit_, scheme_, rule).Fits(*shape) ? 1 : -1;
      else
        agree -= rule.optional ? 0 : 1;
    }
    return agree;
  }

  // Scales that are too many for whole blocks: as many row groups, each padded to whole blocks.
  int64_t PaddedGroups(const ShapeBeside& beside) {
    const StorageRule* rule = scheme_.rule->scale();
    if (rule == nullptr || rule->per != Per::kBlock || unit_.stack > 0) return 0;
    std::optional<std::vector<int64_t>> shape;
    for (const std::string& name : rule->names)
      if (!shape) shape = beside(name);
    if (!shape || ShapeOf(unit_, scheme_, *rule).Fits(*shape)) return 0;
    node_.scales_per_group = true;
    for (unit_.groups = 2; unit_.groups <= 256; ++unit_.groups)
      if (unit_.rows % unit_.groups == 0 && ShapeOf(unit_, scheme_, *rule).Fits(*shape))
        return unit_.groups;
    return 0;
  }

 private:
  const Scheme& scheme_;
  RuleNode node_;
  Unit unit_;
};

}  // namespace

std::optional<LinearSizes> SizesOf(const QuantConfig& quant, std::string_view name, DType dtype,
                                   const std::vector<int64_t>& shape, const ShapeBeside& beside) {
  std::optional<LinearSizes> best;
  int agreement = 0;
  bool tied = false;  // with other sizes
  for (const Scheme& scheme : quant.schemes) {
    const StorageRule* weight = scheme.rule == nullptr ? nullptr : scheme.rule->weight();
    if (weight == nullptr) continue;
    const auto has = [](const auto& list, const auto& item) {
      return std::find(list.begin(), list.end(), item) != list.end();
    };
    if (!has(weight->names, name) || !has(weight->dtypes, dtype)) continue;
    std::optional<std::vector<int64_t>> sizes;
    const size_t plain = weight->per == Per::kShape ? weight->shape.size() : 2;
    if (shape.size() != plain && shape.size() != plain + 1) continue;
    if (weight->per == Per::kPlain) sizes = shape;
    if (weight->per == Per::kShape) sizes = Solve(scheme, weight->shape, shape);
    if (!sizes) continue;
    Candidate candidate(scheme, *sizes);
    const int agrees = candidate.Agreement(beside);
    if (best && agrees == agreement && best->shape != *sizes) tied = true;
    if (best && agrees <= agreement) continue;
    agreement = agrees;
    tied = false;
    best = LinearSizes{std::move(*sizes), candidate.PaddedGroups(beside)};
  }
  return tied ? std::nullopt : best;
}

}  // namespace ferrule
