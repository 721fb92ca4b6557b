// SPDX-License-Identifier: Apache-2.0
#include "cli/activations.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <random>

#include "kernels/fp8.h"

namespace ferrule::cli {

namespace {

// Mistakes of one kind in an input file: the first with its example, and how many there are.
struct Mistake {
  size_t count = 0;
  std::string message, help;  // of the first
};

}  // namespace

std::optional<InputFile> InputFile::Open(const std::string& path, const Plan& plan,
                                         Diagnostics* out) {
  InputFile input;
  input.path_ = path;
  input.file_ = OpenTensorFile(path, Code::kNotFound, out);
  if (!input.file_) return std::nullopt;
  const TensorTable& table = input.file_->table;
  Mistake unknown, other, dtype, sizes;
  const auto note = [](Mistake* to, const auto& message, std::string help = {}) {
    if (to->count++ > 0) return;
    to->message = message();
    to->help = std::move(help);
  };
  for (size_t t = 0; t < table.tensors.size(); ++t) {
    const Tensor& tensor = table.tensors[t];
    const int32_t module = plan.Find(tensor.name);
    if (module < 0) {
      note(&unknown,
           [&] { return fmt::format("the model has no module {}", Quoted(tensor.name)); });
      if (unknown.count > 1) continue;
      const std::string nearest = NearestPath(plan.decisions, tensor.name);
      if (!nearest.empty()) unknown.help = fmt::format("did you mean `{}`?", nearest);
      continue;
    }
    const Unit& unit = plan.decisions.UnitOf(module);
    if (plan.CutOf(unit) == nullptr) {
      note(
          &other, [&] { return fmt::format("{} is no linear", Quoted(tensor.name)); },
          "an input names a linear, as `ferrule plan` lists them");
      continue;
    }
    const Unit& sized = unit.kind == NodeKind::kFused && !unit.parts.empty()
                            ? plan.decisions.units.units[static_cast<size_t>(unit.parts[0])]
                            : unit;
    const std::span<const int64_t> shape = table.shape(tensor);
    if (tensor.dtype != DType::kBF16 && tensor.dtype != DType::kF32) {
      note(&dtype, [&] {
        return fmt::format("the input of {} is {}; BF16 and F32 are read", Quoted(tensor.name),
                           DTypeName(tensor.dtype));
      });
    } else if (shape.size() != 2 || shape[1] != sized.in) {
      note(&sizes, [&] {
        return fmt::format("the input of {} is {}; it must be [tokens, {}]", Quoted(tensor.name),
                           ShapeText(shape), sized.in);
      });
    } else {
      input.modules_.push_back(module);
      input.tensors_.push_back(t);
    }
  }
  bool good = true;
  for (const auto& [mistake, code] :
       {std::pair(&unknown, Code::kUnknownModule), std::pair(&other, Code::kBadInput),
        std::pair(&dtype, Code::kBadInput), std::pair(&sizes, Code::kBadInput)}) {
    if (mistake->count == 0) continue;
    good = false;
    Finding& finding = out->Add(code, mistake->message, {nullptr, path, 0, 0, 0, ""});
    if (mistake->count > 1)
      finding.Fact("found", fmt::format("{} of {} tensors of the file have this mistake",
                                        mistake->count, table.tensors.size()));
    finding.Fact("effect", "nothing is run").Help(mistake->help);
  }
  if (!good) return std::nullopt;
  return input;
}

int64_t InputFile::Tokens(size_t i) const {
  const TensorTable& table = file_->table;
  return table.shape(table.tensors[tensors_[i]])[0];
}

std::optional<Activation> InputFile::Read(size_t i, Diagnostics* out) const {
  const TensorTable& table = file_->table;
  const Tensor& tensor = table.tensors[tensors_[i]];
  const std::span<const int64_t> shape = table.shape(tensor);
  Activation x{shape[0], shape[1], {}};
  const size_t count = static_cast<size_t>(x.tokens * x.columns);
  x.values.resize(count);
  if (tensor.dtype == DType::kBF16) {
    if (!ReadAt(file_->open, path_, x.values.data(), count * 2, tensor.begin, out))
      return std::nullopt;
  } else {
    std::vector<float> wide(count);
    if (!ReadAt(file_->open, path_, wide.data(), count * 4, tensor.begin, out)) return std::nullopt;
    for (size_t k = 0; k < count; ++k) x.values[k] = FloatToBf16(wide[k]);
  }
  for (size_t k = 0; k < count; ++k) {
    if (std::isfinite(Bf16ToFloat(x.values[k]))) continue;
    out->Add(Code::kBadInput,
             fmt::format("the input of {} is not finite at [{}, {}]", Quoted(tensor.name),
                         static_cast<int64_t>(k) / x.columns, static_cast<int64_t>(k) % x.columns),
             {nullptr, path_, 0, 0, 0, ""});
    return std::nullopt;
  }
  return x;
}

Activation RandomActivation(uint64_t seed, const std::string& name, int64_t tokens,
                            int64_t columns) {
  Activation x{tokens, columns, {}};
  x.values.resize(static_cast<size_t>(tokens * columns));
  // The name and the seed as the standard mixes them: the same numbers in every version.
  std::vector<uint32_t> from(name.begin(), name.end());
  from.push_back(static_cast<uint32_t>(seed));
  from.push_back(static_cast<uint32_t>(seed >> 32));
  std::seed_seq mixed(from.begin(), from.end());
  std::mt19937_64 random(mixed);
  // Box-Muller by hand: std::normal_distribution differs from one standard library to the next.
  const auto uniform = [&] { return (static_cast<double>(random() >> 11) + 0.5) * 0x1p-53; };
  for (int64_t m = 0; m < tokens; ++m)
    for (int64_t k = 0; k < columns; ++k) {
      const double normal =
          std::sqrt(-2 * std::log(uniform())) * std::cos(6.283185307179586 * uniform());
      const double magnitude = 1.0 + static_cast<double>((k / 128 + m) % 3);
      x.values[static_cast<size_t>(m * columns + k)] =
          FloatToBf16(static_cast<float>(normal * magnitude));
    }
  return x;
}

double RelativeError(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, size = 0;
  for (size_t k = 0; k < a.size(); ++k) {
    difference += (double{a[k]} - b[k]) * (double{a[k]} - b[k]);
    size += double{b[k]} * b[k];
  }
  return size > 0 ? std::sqrt(difference / size) : std::sqrt(difference);
}

std::optional<ExpectedFile> ExpectedFile::Open(const std::string& path, Diagnostics* out) {
  ExpectedFile expected;
  expected.path_ = path;
  expected.file_ = OpenTensorFile(path, Code::kNotFound, out);
  if (!expected.file_) return std::nullopt;
  const TensorTable& table = expected.file_->table;
  for (size_t t = 0; t < table.tensors.size(); ++t)
    expected.tensors_.emplace(std::string(table.tensors[t].name), t);
  return expected;
}

bool ExpectedFile::Compare(const std::string& name, int64_t tokens, const std::vector<float>& y,
                           Diagnostics* out) {
  const auto at = tensors_.find(name);
  if (at == tensors_.end()) return true;
  const Tensor& tensor = file_->table.tensors[at->second];
  const int64_t columns = tokens > 0 ? static_cast<int64_t>(y.size()) / tokens : 0;
  const std::span<const int64_t> shape = file_->table.shape(tensor);
  if (tensor.dtype != DType::kF32 || shape.size() != 2 || shape[0] != tokens ||
      shape[1] != columns) {
    out->Add(Code::kBadInput,
             fmt::format("{} is {} {}; F32 [{}, {}] is compared with", Quoted(name),
                         DTypeName(tensor.dtype), ShapeText(shape), tokens, columns),
             {nullptr, path_, 0, 0, 0, ""});
    return false;
  }
  std::vector<float> values(y.size());
  if (!ReadAt(file_->open, path_, values.data(), values.size() * 4, tensor.begin, out))
    return false;
  ++compared_;
  const double error = RelativeError(y, values);
  if (error > worst_ || error != error) {
    worst_ = error;
    where_ = name;
  }
  return true;
}

bool ExpectedFile::Judge(double bound, Diagnostics* out) const {
  const Location at{nullptr, path_, 0, 0, 0, ""};
  if (compared_ == 0) {
    out->Add(Code::kBadInput, "the file holds none of the outputs that were computed", at);
    return false;
  }
  if (!(worst_ <= bound))
    out->Add(Code::kCheckFailed,
             fmt::format("`{}` differs from the expected output by {:.2e}; the bound is {:.0e}",
                         where_, worst_, bound),
             at);
  return true;
}

std::string ExpectedFile::Summary() const {
  return fmt::format("expected     {:>7} outputs equal those of {} to {:.2e}", compared_, path_,
                     worst_);
}

}  // namespace ferrule::cli
