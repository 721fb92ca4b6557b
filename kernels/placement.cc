// SPDX-License-Identifier: Apache-2.0
#include "kernels/placement.h"

#include <fmt/format.h>

#include <algorithm>

namespace ferrule {
namespace {

LinearWeight WeightOf(DType dtype) {
  return dtype == DType::kF32    ? LinearWeight::kF32
         : dtype == DType::kF16  ? LinearWeight::kF16
         : dtype == DType::kBF16 ? LinearWeight::kBf16
                                 : LinearWeight::kE4m3;
}

class Placer {
 public:
  Placer(const Plan& plan, int rank, Diagnostics* out) : plan_(plan), rank_(rank), out_(out) {}

  std::optional<PlacedModule> Run(int32_t id) {
    const Decisions& d = plan_.decisions;
    const Unit& unit = d.UnitOf(id);
    const int32_t i = id - unit.first;
    placed_.name = unit.PathOf(i);
    if (unit.kind != NodeKind::kFused) {
      if (!Part(unit, i)) return std::nullopt;
    } else {
      if (d.modules[static_cast<size_t>(id)].together == Together::kDisagree) {
        Fail(Code::kPartsDisagree, fmt::format("the parts of `{}` disagree", placed_.name));
        return std::nullopt;
      }
      for (const int32_t part : unit.parts) {
        const Unit& p = d.units.units[static_cast<size_t>(part)];
        if (d.modules[static_cast<size_t>(p.first + i)].absent) continue;
        if (!Part(p, i)) return std::nullopt;
      }
    }
    for (const PlacedSegment& s : placed_.segments) placed_.rows += s.segment.rows;
    return std::move(placed_);
  }

 private:
  bool Fail(Code code, std::string message) {
    out_->Add(code, std::move(message), {nullptr, {}, 0, 0, 0, ""});
    return false;
  }

  // The module whose weight is read: itself, or the one that `same:` names.
  const Module* Source(const Unit& unit, int32_t i) const {
    const Decisions& d = plan_.decisions;
    const Module& own = d.modules[static_cast<size_t>(unit.first + i)];
    if (!own.absent) return &own;
    if (own.reason != Reason::kSame) return nullptr;
    const int32_t other = SameAs(d, unit, i);
    return other < 0 ? nullptr : &d.modules[static_cast<size_t>(other)];
  }

  // Sets `bias` to the tensor that this rank adds, -1 for none.
  bool Bias(const Unit& unit, int32_t i, int32_t* bias) {
    *bias = -1;
    if (!unit.bias) return true;
    // Its own, also where `same:` names the module of its weight.
    const Module& own = plan_.decisions.modules[static_cast<size_t>(unit.first + i)];
    if (own.bias < 0)
      return Fail(Code::kMissingTensor,
                  fmt::format("the bias of `{}` is not stored", unit.PathOf(i)));
    const Tensor& tensor = plan_.checkpoint->tensors()[static_cast<size_t>(own.bias)];
    if (tensor.dtype != DType::kBF16 && tensor.dtype != DType::kF16 && tensor.dtype != DType::kF32)
      return Fail(Code::kCannotRun,
                  fmt::format("{} is {}; a bias is added as BF16, F16 or F32 alone",
                              Quoted(tensor.name), DTypeName(tensor.dtype)));
    if (unit.node->split != Split::kRow || rank_ == 0) *bias = own.bias;
    return true;
  }

  bool Part(const Unit& unit, int32_t i) {
    const Decisions& d = plan_.decisions;
    const std::string name = unit.PathOf(i);
    const Module* module = Source(unit, i);
    if (module == nullptr || module->weight < 0)
      return Fail(Code::kMissingTensor, fmt::format("`{}` is not stored", name));
    const int8_t id = module->scheme < 0 ? module->stored : module->scheme;
    const Scheme& scheme = d.quant.schemes[static_cast<size_t>(std::max<int8_t>(id, 0))];
    if (!scheme.executed() || unit.stack > 0)
      return Fail(Code::kCannotRun,
                  unit.stack > 0
                      ? fmt::format("`{}` is a stack of {} experts, which has no single product",
                                    name, unit.stack)
                      : fmt::format("`{}` is {}, which ferrule reports but does not run", name,
                                    scheme.name));
    const Cut* cut = plan_.CutOf(unit);
    if (cut == nullptr || cut->ranks.empty())
      return Fail(Code::kUncuttable, fmt::format("`{}` cannot be cut for tp {}", name, plan_.tp));
    const bool fp8 = scheme.rule != nullptr;
    const bool fixed = fp8 && scheme.rule->activation == Activation::kStatic;
    if ((fp8 && module->scale < 0) || (fixed && module->input < 0))
      return Fail(Code::kMissingTensor, fmt::format("scales of `{}` are not stored", name));
    int32_t bias = -1;
    if (!Bias(unit, i, &bias)) return false;
    const Shard& shard = cut->ranks[static_cast<size_t>(rank_)];
    placed_.in = shard.cols.size();
    placed_.first_column = shard.cols.begin;
    const int64_t height = unit.node->scales_per_group ? unit.rows / unit.groups : unit.rows;
    for (const Range& whole : shard.rows)
      for (int64_t begin = whole.begin; begin < whole.end;) {
        const int64_t end = std::min(whole.end, (begin / height + 1) * height);
        PlacedSegment placed;
        placed.weight = module->weight;
        placed.bias = bias;
        placed.rows = {begin, end};
        placed.cols = shard.cols;
        const Checkpoint& c = *plan_.checkpoint;
        LinearSegment& segment = placed.segment;
        segment.rows = placed.rows.size();
        segment.weight_stride = placed.cols.size();
        segment.weight_type = WeightOf(c.tensors()[static_cast<size_t>(module->weight)].dtype);
        if (fp8) {
          placed.scale = module->scale;
          placed.input = fixed ? module->input : -1;
          Quantized(scheme, height, &placed);
        }
        placed_.segments.push_back(placed);
        begin = end;
      }
    return true;
  }

  void Quantized(const Scheme& scheme, int64_t height, PlacedSegment* placed) const {
    LinearSegment& segment = placed->segment;
    const Range& rows = placed->rows;
    segment.ue8m0 = scheme.power_of_two;
    if (scheme.name == "fp8_tensor") {
      segment.scheme = LinearScheme::kFp8Tensor;
      return;
    }
    if (scheme.name == "fp8_channel") {
      segment.scheme = LinearScheme::kFp8Channel;
      segment.scale_stride = 1;
      placed->first_scale = rows.begin;
      return;
    }
    const Checkpoint& c = *plan_.checkpoint;
    const std::span<const int64_t> shape = c.shape(c.tensors()[static_cast<size_t>(placed->scale)]);
    segment.scheme = LinearScheme::kFp8Block;
    segment.scale_stride = shape.size() == 2 ? shape[1] : 1;
    segment.block_n = static_cast<int32_t>(scheme.block_n);
    segment.block_k = static_cast<int32_t>(scheme.block_k);
    const int64_t grid = (height + scheme.block_n - 1) / scheme.block_n;
    const int64_t inside = rows.begin % height;
    const int64_t row = rows.begin / height * grid + inside / scheme.block_n;
    placed->first_scale = row * segment.scale_stride + placed->cols.begin / scheme.block_k;
    segment.n_phase = static_cast<int32_t>(inside % scheme.block_n);
    segment.k_phase = static_cast<int32_t>(placed->cols.begin % scheme.block_k);
  }

  const Plan& plan_;
  const int rank_;
  Diagnostics* const out_;
  PlacedModule placed_;
};

}  // namespace

std::optional<PlacedModule> PlaceModule(const Plan& plan, int32_t module, int rank,
                                        Diagnostics* out) {
  return Placer(plan, rank, out).Run(module);
}

int64_t WeightBytes(const LinearSegment& segment) {
  if (segment.scheme != LinearScheme::kBf16) return 1;
  return segment.weight_type == LinearWeight::kF32 ? 4 : 2;
}

}  // namespace ferrule
