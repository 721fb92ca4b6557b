// SPDX-License-Identifier: Apache-2.0
// The tiny checkpoints, loaded as planned and run, give the outputs that were recorded by others;
// loaded or run in one of the ways in which engines get it wrong, they do not.
#include "tests/loader/tiny.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "tests/catch.h"
#include "tests/engine/model.h"
#include "tests/kernels/group.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

constexpr double kReferenceBound = 1e-6, kFastBound = 1e-5;

// One checkpoint at one tensor-parallel size.
struct Recorded {
  Recorded(const std::string& name, int parallel)
      : tp(parallel),
        plan(PlanFor(SourceBook(), OpenSound(FixturePath("tiny/" + name)), parallel)),
        inputs(FixturePath("tiny/" + name + "/inputs.safetensors")),
        outputs(FixturePath("tiny/" + name + "/outputs.safetensors")) {}

  // Of a rank; "" when nothing is recorded for it, as for what is not split.
  std::string Name(const std::string& module, int rank) const {
    const std::string name =
        tp == 1 ? module + ".y" : fmt::format("{}.y_tp{}.rank{}", module, tp, rank);
    return outputs.Has(name) ? name : "";
  }

  // visit(module, rank, loaded, x, recorded y) for everything that is recorded at this size.
  template <typename Visit>
  void Each(const Visit& visit) const {
    for (const std::string& module : inputs.names()) {
      const Activations x = Read(inputs, module);
      for (int rank = 0; rank < tp; ++rank) {
        const std::string name = Name(module, rank);
        if (name.empty()) continue;
        INFO(name);
        const auto linear = Load(plan, module, rank);
        for (LinearSegment& segment : linear->segments) segment.bias = nullptr;  // as recorded
        visit(module, rank, *linear, x, outputs.Floats(name));
      }
    }
  }

  int tp;
  Plan plan;
  TensorData inputs, outputs;
};

const char* const kCheckpoints[] = {"qwen3_next_fp8", "qwen3_5_fp8"};

// Whether a mistake can show at all: a module of one row of blocks has no next row of scales.
bool Shows(Mutant mutant, const LoadedLinear& linear) {
  return std::any_of(linear.segments.begin(), linear.segments.end(), [&](const LinearSegment& s) {
    if (s.scheme != LinearScheme::kFp8Block) return false;
    const int64_t rows = (s.n_phase + s.rows + s.block_n - 1) / s.block_n;
    const int64_t columns = (s.k_phase + linear.in + s.block_k - 1) / s.block_k;
    switch (mutant) {
      case Mutant::kNextScaleRow:
        return rows > 1;
      case Mutant::kNextScaleColumn:
      case Mutant::kPreviousScaleColumn:
      case Mutant::kOtherXScale:
      case Mutant::kOneScalePerToken:
        return columns > 1;
      case Mutant::kTransposedScales:
        return rows > 1 && columns > 1;
      case Mutant::kStretchedBlocks:
        return rows > 1 && (s.rows + rows - 1) / rows != s.block_n;
      case Mutant::kIgnoredNPhase:
        return rows > 1 && s.n_phase > 0;
      case Mutant::kIgnoredKPhase:
        return columns > 1 && s.k_phase > 0;
      default:
        return true;
    }
  });
}

// What tests/loader/mutants.py found with numpy.
struct Independent {
  std::string mistake, of;
  size_t count = 0;
  double least = 0;
};

std::vector<Independent> IndependentRows() {
  std::ifstream in(FERRULE_TEST_DATA "/loader/mutants.tsv");
  std::vector<Independent> rows;
  for (std::string line; std::getline(in, line);) {
    std::istringstream fields(line);
    Independent row;
    std::string count, least;
    if (line.empty() || line[0] == '#') continue;
    std::getline(fields, row.mistake, '\t');
    std::getline(fields, row.of, '\t');
    std::getline(fields, count, '\t');
    std::getline(fields, least, '\t');
    row.count = std::stoul(count);
    row.least = std::stod(least);
    rows.push_back(row);
  }
  return rows;
}

// The outputs of `wrong` that are not those of `right`, from both.
std::pair<std::vector<float>, std::vector<float>> Moved(const std::vector<float>& wrong,
                                                        const std::vector<float>& right,
                                                        int64_t tokens) {
  const size_t columns = right.size() / static_cast<size_t>(tokens);
  float largest = 0;
  for (const float y : right) largest = std::max(largest, std::abs(y));
  std::pair<std::vector<float>, std::vector<float>> moved;
  for (size_t n = 0; n < columns; ++n) {
    bool differs = false;
    for (size_t at = n; at < right.size(); at += columns)
      differs = differs || std::abs(wrong[at] - right[at]) > 1e-5f * largest;
    for (size_t at = n; differs && at < right.size(); at += columns) {
      moved.first.push_back(wrong[at]);
      moved.second.push_back(right[at]);
    }
  }
  return moved;
}

// The first two tokens are enough to see a mistake.
Activations Few(const Activations& x) {
  Activations few{std::min<int64_t>(2, x.tokens), x.columns, x.values};
  few.values.resize(static_cast<size_t>(few.tokens * few.columns));
  return few;
}

}  // namespace

TEST_CASE("the recorded outputs come out of the reference, the fast path and a naive reading") {
  for (const char* name : kCheckpoints) {
    for (const int tp : {1, 2}) {
      const Recorded recorded(name, tp);
      size_t compared = 0;
      recorded.Each([&](const std::string&, int, const LoadedLinear& linear, const Activations& x,
                        const std::vector<float>& y) {
        CHECK(RelativeError(ByReference(linear, x), y) <= kReferenceBound);
        CHECK(RelativeError(ByFastPath(linear, x), y) <= kFastBound);
        CHECK(RelativeError(ByNaive(linear, x), y) <= kReferenceBound);
        ++compared;
      });
      const auto names = recorded.outputs.names();
      const std::string of = tp == 1 ? ".y" : fmt::format(".y_tp{}.rank", tp);
      CHECK(compared == static_cast<size_t>(std::count_if(
                            names.begin(), names.end(), [&](const std::string& output) {
                              return tp == 1 ? output.ends_with(of)
                                             : output.find(of) != std::string::npos;
                            })));
    }
  }
}

TEST_CASE("a y whose tokens are nearer than the rows of all segments is refused, and left alone") {
  const Recorded recorded("qwen3_next_fp8", 1);
  const std::string name = "model.layers.3.self_attn.qkv_proj";
  const auto linear = Load(recorded.plan, name, 0);
  REQUIRE(linear->rows == 768);
  REQUIRE(linear->segments[0].rows == 512);  // the longest: 512 would do for each alone
  const Activations x = Read(recorded.inputs, name);
  std::vector<float> y(static_cast<size_t>(x.tokens * linear->rows), -7.0f);
  for (const int64_t stride : {int64_t{0}, int64_t{511}, int64_t{512}, int64_t{767}}) {
    const LinearStatus status = linear->Run(x.values.data(), x.tokens, x.columns, y.data(), stride);
    CHECK(status.code == LinearCode::kBadSize);
    CHECK(std::string(status.message) == "y_stride is smaller than the rows of all segments");
  }
  CHECK(std::all_of(y.begin(), y.end(), [](float value) { return value == -7.0f; }));
  CHECK(linear->Run(x.values.data(), x.tokens, x.columns, y.data(), linear->rows));
}

TEST_CASE("biases are added to what is recorded without") {
  const Recorded recorded("qwen3_5_fp8", 1);
  const TensorData stored(FixturePath("tiny/qwen3_5_fp8/model.safetensors"));
  int compared = 0;
  for (const std::string& module : recorded.inputs.names()) {
    const auto linear = Load(recorded.plan, module, 0);
    CHECK((linear->segments[0].bias != nullptr) == stored.Has(module + ".bias"));
    if (!stored.Has(module + ".bias")) continue;
    INFO(module);
    const Activations x = Read(recorded.inputs, module);
    std::vector<float> y = recorded.outputs.Floats(module + ".y");
    const std::vector<float> without = y;
    const std::vector<uint16_t> bias = stored.Halves(module + ".bias");
    REQUIRE(static_cast<int64_t>(bias.size()) == linear->rows);
    for (size_t i = 0; i < y.size(); ++i) {
      const uint32_t bits = static_cast<uint32_t>(bias[i % bias.size()]) << 16;  // BF16
      float value = 0;
      std::memcpy(&value, &bits, 4);
      y[i] += value;
    }
    CHECK(RelativeError(y, without) > 1e-3);
    CHECK(RelativeError(ByReference(*linear, x), y) <= kReferenceBound);
    CHECK(RelativeError(ByFastPath(*linear, x), y) <= kFastBound);
    ++compared;
  }
  CHECK(compared == 6);
}

TEST_CASE("wrong numerics are rejected by the recorded outputs") {
  struct Row {
    Mutant mutant;
    const char* what;
    double whole;  // the least difference at tp 1, of whole modules with one tensor
    double rank;   // and of what a rank holds, where few rows may be concerned
    size_t seen;   // how often at least
  };
  // The bounds of whole modules are those that were published with the checkpoints (41 % for a row
  // is 0.406, rounded). Their 35 % for a column holds to the left; to the right numpy finds 31.8 %,
  // in a module of three columns of blocks. Their 21 % for stretched blocks no module here can
  // show: whole ones have none to stretch, and of shards numpy finds 5.3 % at the least. Bounds of
  // shards and fused modules lie under what numpy finds, which is compared exactly below.
  const Row rows[] = {
      {Mutant::kNextScaleRow, "next row of scales", 0.405, 0.1, 150},
      {Mutant::kNextScaleColumn, "next column of scales", 0.318, 0.1, 200},
      {Mutant::kPreviousScaleColumn, "previous column of scales", 0.35, 0.1, 200},
      {Mutant::kTransposedScales, "transposed scales", 0.12, 0.02, 80},
      {Mutant::kStretchedBlocks, "block height as rows / scale rows", 0.21, 0.05, 40},
      {Mutant::kIgnoredNPhase, "a shard's first row taken for a block's", 0.1, 0.1, 20},
      {Mutant::kIgnoredKPhase, "a shard's first column taken for a block's", 0.04, 0.04, 8},
      {Mutant::kOtherXScale, "activation scale of another block", 0.058, 0.058, 200},
      {Mutant::kUnquantizedX, "x not quantized", 0.013, 0.009, 300},
      {Mutant::kOneScalePerToken, "one activation scale per token", 3e-4, 3e-4, 200},
      {Mutant::kDividedScale, "divided by the scale", 0.9, 0.9, 300},
      {Mutant::kTruncatedX, "x truncated to E4M3", 0.02, 0.009, 300},
  };
  std::map<Mutant, size_t> seen;
  std::map<std::pair<std::string, std::string>, std::vector<double>> errors;
  for (const char* name : kCheckpoints) {
    for (const int tp : {1, 2}) {
      const Recorded recorded(name, tp);
      recorded.Each([&](const std::string&, int, const LoadedLinear& linear, const Activations& all,
                        const std::vector<float>& y) {
        const bool whole = tp == 1 && linear.segments.size() == 1;
        const Activations x = whole ? all : Few(all);
        const std::vector<float> right(y.begin(), y.begin() + x.tokens * linear.rows);
        for (const Row& row : rows) {
          if (!Shows(row.mutant, linear)) continue;
          INFO(row.what);
          const double error = RelativeError(ByNaive(linear, x, row.mutant), right);
          CHECK(error >= (whole ? row.whole : row.rank));
          CHECK(error > 10 * kFastBound);
          ++seen[row.mutant];
          errors[{row.what, whole ? "whole" : "parts"}].push_back(error);
        }
      });
    }
  }
  for (const Row& row : rows) {
    INFO(row.what);
    CHECK(seen[row.mutant] >= row.seen);
  }
  // The same mistakes, made with numpy, differ by as much.
  size_t compared = 0;
  for (const Independent& row : IndependentRows()) {
    const auto ours = errors.find({row.mistake, row.of});
    if (ours == errors.end()) continue;
    INFO(row.mistake << ", " << row.of);
    CHECK(ours->second.size() == row.count);
    CHECK(std::abs(*std::min_element(ours->second.begin(), ours->second.end()) - row.least) < 2e-6);
    ++compared;
  }
  CHECK(compared == 7 + 10);
}

TEST_CASE("rows of the interleaved tensors that are left where they are stored are rejected") {
  std::ifstream in(FixturePath("tiny/qwen3_next_fp8/deinterleave.json"));
  std::stringstream text;
  text << in.rdbuf();
  const JsonValue permutation = Json(text.str());
  const Recorded recorded("qwen3_next_fp8", 1);
  int compared = 0;
  recorded.Each([&](const std::string& module, int, const LoadedLinear& linear,
                    const Activations& x, const std::vector<float>& y) {
    const JsonValue plain = permutation.Find(module.substr(module.rfind('.') + 1));
    if (!plain) return;
    const std::vector<float> loaded = ByReference(linear, x);
    std::vector<int64_t> order;  // of the stored rows: in_proj_qkv and in_proj_z side by side
    for (const JsonValue rows : plain)
      for (const JsonValue row : rows) order.push_back(*row.AsInt());
    REQUIRE(order.size() == static_cast<size_t>(linear.rows));
    std::vector<float> right, ours;
    for (int64_t m = 0; m < x.tokens; ++m) {
      for (const int64_t row : order) {
        right.push_back(y[static_cast<size_t>(m * linear.rows + row)]);
        ours.push_back(loaded[static_cast<size_t>(m * linear.rows + row)]);
      }
    }
    CHECK(RelativeError(ours, right) <= kReferenceBound);
    CHECK(RelativeError(loaded, right) >= 1.1);
    ++compared;
  });
  CHECK(compared == 3 * 2);  // three layers with two such tensors each
}

TEST_CASE("a fused or sliced module cut as one range is rejected") {
  std::set<std::string> names;
  std::map<std::string, std::vector<double>> errors;
  for (const char* name : kCheckpoints) {
    const Recorded whole(name, 1), halves(name, 2);
    std::map<std::string, std::vector<float>> y;
    whole.Each([&](const std::string& module, int, const LoadedLinear& linear, const Activations& x,
                   const std::vector<float>&) { y[module] = ByReference(linear, x); });
    halves.Each([&](const std::string& module, int rank, const LoadedLinear& linear,
                    const Activations& x, const std::vector<float>& recorded) {
      const Cut& cut = *halves.plan.CutOf(halves.plan.decisions.UnitOf(halves.plan.Find(module)));
      if (cut.ranks[0].rows.size() < 2) return;  // a rank's rows are one range
      INFO(module);
      const std::vector<float> wrong =
          ColumnsOf(y.at(module), x.tokens, rank * linear.rows, (rank + 1) * linear.rows);
      // A rank gets some of its rows by luck (half of gate_up_proj), so that all of y differs by
      // less than the 90 % that were published; the outputs that are wrong differ by more.
      const auto [moved, right] = Moved(wrong, recorded, x.tokens);
      CHECK(RelativeError(moved, right) >= 0.9);
      CHECK(RelativeError(wrong, recorded) >= 0.5);
      errors["cut as one range, outputs that are wrong"].push_back(RelativeError(moved, right));
      errors["cut as one range"].push_back(RelativeError(wrong, recorded));
      names.insert(module.substr(module.rfind('.') + 1));
    });
  }
  CHECK(names == std::set<std::string>{"gate_up_proj", "in_proj_ba", "in_proj_qkv", "in_proj_qkvz",
                                       "qkv_proj"});
  size_t compared = 0;
  for (const Independent& row : IndependentRows()) {
    const auto ours = errors.find(row.mistake);
    if (ours == errors.end()) continue;
    INFO(row.mistake);
    CHECK(ours->second.size() == row.count);
    CHECK(std::abs(*std::min_element(ours->second.begin(), ours->second.end()) - row.least) < 2e-6);
    ++compared;
  }
  CHECK(compared == 2);
}
