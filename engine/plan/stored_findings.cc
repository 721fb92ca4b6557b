// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/stored_findings.h"

#include <fmt/format.h>

#include "engine/text/words.h"

namespace ferrule {
namespace {

std::string Which(const StorageRule& rule) {
  return rule.role == "input"   ? "activation scale"
         : rule.role == "scale" ? "scale"
                                : fmt::format("`{}`", rule.name());
}

// Tells the tensors of one module apart in grouped findings.
int64_t Detail(const StorageRule& rule) {
  return static_cast<int64_t>(HashBytes(rule.name()) >> 1);
}

}  // namespace

void StoredFindings::WrongShape(const Unit& unit, int32_t tensor,
                                std::span<const int64_t> expected) {
  grouped_.Add(Code::kShapeMismatch, unit.node, 0, [&] {
    Finding finding(Code::kShapeMismatch,
                    fmt::format("the rule gives `{}` the shape {}, the checkpoint stores {}",
                                unit.Display(), ShapeText(expected), ShapeText(ShapeAt(tensor))),
                    RuleAt(d_, unit));
    finding.Fact("found", "{n}, e.g. " + TensorText(checkpoint_, tensor));
    finding.Help("config.json belongs to another checkpoint, or the rule's dims are wrong");
    return finding;
  });
}

void StoredFindings::PlainType(const Unit& unit, const Module& module) {
  grouped_.Add(Code::kUnexpectedType, unit.node, 0, [&] {
    Finding finding(
        Code::kUnexpectedType,
        fmt::format("`{}` is no linear, yet stored as {}", unit.Display(), DTypeName(module.dtype)),
        RuleAt(d_, unit));
    finding.Fact("found", "{n}, e.g. " + TensorText(checkpoint_, module.weight));
    finding.Fact("effect", "an engine would stop, or read its bytes as numbers");
    finding.Help(
        fmt::format("if the model multiplies with `{}`, declare it as `rows`; else "
                    "quantize the checkpoint again without it",
                    unit.Display()));
    return finding;
  });
}

void StoredFindings::WrongWeight(const Unit& unit, int32_t tensor, const ExpectedShape& expected) {
  if (!expected.any_of.empty()) return WrongShape(unit, tensor, expected.any_of[0]);
  grouped_.Add(Code::kShapeMismatch, unit.node, 1, [&] {
    Finding finding(
        Code::kShapeMismatch,
        fmt::format("the weights of `{}` cannot be packed: {}", unit.Display(), expected.why),
        RuleAt(d_, unit));
    finding.Fact("found", "{n}, e.g. " + TensorText(checkpoint_, tensor));
    return finding;
  });
}

void StoredFindings::WrongScale(const Unit& unit, const StorageRule& rule,
                                const ExpectedShape& expected, const std::string& words,
                                int32_t scale) {
  grouped_.Add(Code::kScaleShape, unit.node, Detail(rule), [&] {
    Finding finding(
        Code::kScaleShape,
        fmt::format("the {} of `{}` must be {} ({}), not {}", Which(rule), unit.Display(),
                    expected.any_of.empty() ? expected.why : ShapeText(expected.any_of[0]), words,
                    ShapeText(ShapeAt(scale))),
        RuleAt(d_, unit));
    finding.Fact("found", "{n}, e.g. " + TensorText(checkpoint_, scale));
    finding.Fact("effect", rule.role == "input"
                               ? "x would be quantized with one of them, and nobody says which"
                               : "weights would be multiplied with the scales of others");
    finding.Help(rule.role == "input"
                     ? "the checkpoint was written wrongly, or is of another activation scheme"
                 : Turned(expected, scale)
                     ? "rows and columns of the scales are exchanged: write them again"
                     : "the checkpoint was written wrongly, or config.json names another "
                       "block size or scheme");
    return finding;
  });
}

// Whether the scales have the shape that is expected, with rows and columns exchanged.
bool StoredFindings::Turned(const ExpectedShape& expected, int32_t scale) const {
  const std::span<const int64_t> shape = ShapeAt(scale);
  if (shape.size() != 2 || expected.any_of.empty() || expected.any_of[0].size() != 2) return false;
  return shape[0] == expected.any_of[0][1] && shape[1] == expected.any_of[0][0];
}

void StoredFindings::MissingScale(const Unit& unit, const std::string& name,
                                  const std::string& beside, const Module& module) {
  grouped_.Add(Code::kMissingScale, unit.node, static_cast<int64_t>(HashBytes(name) >> 1), [&] {
    Finding finding(Code::kMissingScale,
                    fmt::format("`{}` is stored as {}, but its `{}` is missing", unit.Display(),
                                DTypeName(module.dtype), name),
                    RuleAt(d_, unit));
    finding.Fact("found", "{n}, e.g. " + TensorText(checkpoint_, module.weight));
    if (!beside.empty()) finding.Fact("beside", beside);
    finding.Fact("effect", "an engine would multiply with whatever its memory holds");
    finding.Help(beside.empty()
                     ? "the checkpoint is incomplete: complete the download, or quantize it again"
                     : "if that is the scale, quantization_config describes another scheme");
    return finding;
  });
}

void StoredFindings::WrongScaleType(const Unit& unit, const StorageRule& rule, int32_t scale) {
  const DType dtype = checkpoint_.tensors()[static_cast<size_t>(scale)].dtype;
  grouped_.Add(Code::kScaleType, unit.node, Detail(rule), [&] {
    std::vector<std::string_view> names;
    for (const DType known : rule.dtypes) names.push_back(DTypeName(known));
    Finding finding(Code::kScaleType,
                    fmt::format("the {} of `{}` is stored as {}; dialect `{}` knows {}",
                                Which(rule), unit.Display(), DTypeName(dtype),
                                d_.quant.dialect->name, fmt::join(names, ", ")),
                    RuleAt(d_, unit));
    finding.Fact("found", "{n}, e.g. " + TensorText(checkpoint_, scale));
    finding.Fact("effect", "an engine would stop, or read its bytes as another dtype's");
    finding.Help(
        "if engines read it, add the dtype to the dialect file; else write the scales again");
    return finding;
  });
}

void StoredFindings::OrphanScale(const Unit& unit, const Module& module, int32_t scale) {
  grouped_.Add(Code::kOrphanScale, unit.node, 0, [&] {
    Finding finding(Code::kOrphanScale,
                    fmt::format("`{}` is stored as {} and yet has a scale", unit.Display(),
                                DTypeName(module.dtype)),
                    RuleAt(d_, unit));
    finding.Fact("found", "{n}, e.g. " + TensorText(checkpoint_, scale));
    finding.Fact("effect", "an engine drops the scale, or multiplies unquantized weights with it");
    finding.Help("the scales were left behind, or the weights are of another release");
    return finding;
  });
}

void StoredFindings::Foreign(const Unit& unit, const std::string& beside, const Module& module) {
  grouped_.Add(Code::kUnexpectedType, unit.node, static_cast<int64_t>(module.dtype), [&] {
    const Dialect* dialect = d_.quant.dialect.get();
    const std::string what =
        fmt::format("`{}` is stored as {}", unit.Display(), DTypeName(module.dtype));
    Finding finding(
        Code::kUnexpectedType,
        dialect ? fmt::format("{}, which no scheme of dialect `{}` here has", what, dialect->name)
                : what + ", and config.json has no quantization_config",
        RuleAt(d_, unit));
    finding.Fact("found", "{n}, e.g. " + TensorText(checkpoint_, module.weight));
    if (!beside.empty()) finding.Fact("beside", beside);
    finding.Fact("effect",
                 dialect
                     ? "an engine would stop, or read its bytes as another dtype's"
                     : "an engine would take the model for BF16 and read these bytes as numbers");
    finding.Help(
        dialect ? "quantization_config describes another scheme than what is stored"
                : "its description is missing (config.json, hf_quant_config.json or "
                  "ModelSlim's quant_model_description.json), or config.json is another release's");
    return finding;
  });
}

}  // namespace ferrule
