// SPDX-License-Identifier: Apache-2.0
// What all ranks hold together, and what they compute: checkpoints with random sizes and weights,
// in every scheme and for every kind of linear, cut for 1, 2, 4 and 8 ranks.
#include <fmt/format.h>

#include <cstring>
#include <string_view>

#include "tests/catch.h"
#include "tests/kernels/group.h"
#include "tests/loader/made.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

constexpr char kModules[] = R"(  plain: {rows: plain, in: in, split: column, bias: true}
  attn:
    q: {rows: height, per: heads, in: in, split: column, bias: true}
    k: {rows: height, per: kv, replicate: true, in: in, split: column}
    v: {rows: value, per: kv, replicate: true, in: in, split: column, bias: true}
    qkv: {fused: [q, k, v]}
  sliced: {unified: {q: {rows: height, per: heads}, k: {rows: value, per: kv, replicate: true}, w: plain}, in: in, split: column, bias: true}
  grouped: {unified: {b: height, a: value}, per: heads, in: in, split: column, bias: true}
  down: {rows: out, in: wide, split: row, bias: true}
  whole: {rows: out, in: in, split: none, bias: true}
)";

using Rows = std::vector<int64_t>;

Rows Span(int64_t begin, int64_t end) {
  Rows rows;
  for (int64_t row = begin; row < end; ++row) rows.push_back(row);
  return rows;
}

// The heads of one rank: shared evenly, or each repeated for neighbouring ranks.
Rows Heads(int64_t begin, int64_t heads, int64_t height, int tp, int rank) {
  const int64_t first = heads >= tp ? heads / tp * rank : rank / (tp / heads);
  const int64_t count = heads >= tp ? heads / tp : 1;
  return Span(begin + first * height, begin + (first + count) * height);
}

Rows operator+(Rows a, const Rows& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

struct Sizes {
  int64_t plain, height, value, heads, kv, in, out, wide;

  explicit Sizes(std::mt19937* random) {
    const auto pick = [&](int64_t least, int64_t most) {
      return least + static_cast<int64_t>((*random)() % static_cast<uint32_t>(most - least + 1));
    };
    plain = 8 * pick(1, 12);
    height = pick(1, 11);
    value = pick(1, 9);
    heads = 8 * pick(1, 2);
    kv = int64_t{1} << pick(0, 3);
    in = pick(20, 90);
    out = pick(5, 40);
    wide = 8 * pick(3, 20);
  }

  std::map<std::string, int64_t> Named() const {
    return {{"plain", plain}, {"height", height}, {"value", value}, {"heads", heads},
            {"kv", kv},       {"in", in},         {"out", out},     {"wide", wide}};
  }

  int64_t RowsOf(const std::string& name) const {
    if (name == "plain") return plain;
    if (name == "attn.q") return heads * height;
    if (name == "attn.k") return kv * height;
    if (name == "attn.v") return kv * value;
    if (name == "sliced") return heads * height + kv * value + plain;
    if (name == "grouped") return heads * (height + value);
    return out;
  }

  // What a rank holds, said again: rows in the order of its output.
  Rows Held(const std::string& name, int tp, int rank) const {
    const auto even = [&](int64_t begin, int64_t rows) {
      return Span(begin + rows / tp * rank, begin + rows / tp * (rank + 1));
    };
    if (name == "plain") return even(0, plain);
    if (name == "attn.q") return Heads(0, heads, height, tp, rank);
    if (name == "attn.k") return Heads(0, kv, height, tp, rank);
    if (name == "attn.v") return Heads(0, kv, value, tp, rank);
    if (name == "grouped") return Heads(0, heads, height + value, tp, rank);
    if (name == "sliced")
      return Heads(0, heads, height, tp, rank) + Heads(heads * height, kv, value, tp, rank) +
             even(heads * height + kv * value, plain);
    return Span(0, out);
  }

  // How often a row is held by some rank.
  int Times(const std::string& name, int64_t row, int tp) const {
    const int repeated = kv >= tp ? 1 : static_cast<int>(tp / kv);
    if (name == "attn.k" || name == "attn.v") return repeated;
    if (name == "sliced" && row >= heads * height && row < heads * height + kv * value)
      return repeated;
    return name == "whole" ? tp : 1;
  }
};

const char* const kLinears[] = {"plain",  "attn.q",  "attn.k", "attn.v",
                                "sliced", "grouped", "down",   "whole"};

const Storage kStorages[] = {
    {"bf16", 0, 0, DType::kBF16, DType::kF32},
    {"bf16", 0, 0, DType::kF32, DType::kF32},
    {"bf16", 0, 0, DType::kF16, DType::kF32},
    {"fp8_block", 128, 128, DType::kBF16, DType::kF32},
    {"fp8_block", 16, 32, DType::kBF16, DType::kBF16},
    {"fp8_block", 8, 16, DType::kBF16, DType::kF8E8M0},
    {"fp8_block", 1, 128, DType::kBF16, DType::kF32},
    {"fp8_channel", 0, 0, DType::kBF16, DType::kBF16},
    {"fp8_tensor", 0, 0, DType::kBF16, DType::kF32},
    {"fp8_static", 0, 0, DType::kBF16, DType::kBF16},
};

// All linears but this have a bias, in a round of one of these dtypes.
constexpr std::string_view kUnbiased = "attn.k";
const DType kBiases[] = {DType::kBF16, DType::kF32, DType::kF16};

// The rank's weights, as they lie in memory, are these rows and columns of the stored tensor; its
// bias is these rows of the stored one, where the rank adds it.
void CheckBytes(const LoadedLinear& linear, const Made& made, const std::string& name,
                const Rows& rows, int64_t begin, int64_t end) {
  const std::vector<uint8_t>& stored = made.weight(name);
  const int64_t in = made.linear(name).in, element = made.element();
  const std::vector<float>& bias = made.linear(name).bias;
  const bool adds = !bias.empty() && begin == 0;
  size_t row = 0, wrong = 0;
  for (const LinearSegment& segment : linear.segments) {
    REQUIRE((segment.bias != nullptr) == adds);
    REQUIRE(row + static_cast<size_t>(segment.rows) <= rows.size());
    for (int64_t r = 0; r < segment.rows; ++r, ++row) {
      const uint8_t* loaded =
          static_cast<const uint8_t*>(segment.weight) + r * segment.weight_stride * element;
      const uint8_t* original = stored.data() + (rows[row] * in + begin) * element;
      if (std::memcmp(loaded, original, static_cast<size_t>((end - begin) * element)) != 0) ++wrong;
      if (adds && std::memcmp(segment.bias + r, &bias[static_cast<size_t>(rows[row])], 4) != 0)
        ++wrong;
    }
  }
  CHECK(row == rows.size());
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("the shards of all ranks tile every tensor, and compute its rows or its partial sums") {
  std::mt19937 random(11);
  int replicated = 0, added = 0, apart = 0;
  for (int round = 0; round < 30; ++round) {
    const Storage& storage = kStorages[static_cast<size_t>(round) % std::size(kStorages)];
    const Sizes sizes(&random);
    Made made(static_cast<uint32_t>(random()), storage, kModules, sizes.Named());
    for (const std::string name : kLinears) {
      made.AddLinear(name, sizes.RowsOf(name), name == "down" ? sizes.wide : sizes.in);
      if (name != kUnbiased)
        made.AddBias(name, kBiases[static_cast<size_t>(round) % std::size(kBiases)]);
    }
    const Activations x = made.X(2, sizes.in), wide = made.X(2, sizes.wide);
    const Plan one = made.PlanAt(1);
    for (const int tp : {1, 2, 4, 8}) {
      const Plan plan = made.PlanAt(tp);
      for (const std::string name : kLinears) {
        INFO(fmt::format("round {} {} {}x{} {} tp {}", round, storage.scheme, storage.block_n,
                         storage.block_k, name, tp));
        const bool row_split = name == "down";
        const Activations& input = row_split ? wide : x;
        const int64_t rows = sizes.RowsOf(name), in = made.linear(name).in;
        const std::vector<float> y = ByReference(*Load(one, name, 0), input);
        CHECK(RelativeError(y, made.Law(name, Span(0, rows), 0, in, input)) <= 1e-6);
        std::vector<int> held(static_cast<size_t>(rows), 0);
        std::vector<double> sum(y.size(), 0);
        int64_t columns = 0;
        for (int rank = 0; rank < tp; ++rank) {
          const std::unique_ptr<LoadedLinear> linear = Load(plan, name, rank);
          const Rows mine = sizes.Held(name, tp, rank);
          const int64_t begin = row_split ? in / tp * rank : 0;
          const int64_t end = row_split ? in / tp * (rank + 1) : in;
          CHECK(linear->first_column == begin);
          CHECK(linear->in == end - begin);
          CheckBytes(*linear, made, name, mine, begin, end);
          for (const int64_t row : mine) ++held[static_cast<size_t>(row)];
          columns += end - begin;
          const std::vector<float> own = ByReference(*linear, input);
          CHECK(RelativeError(own, made.Law(name, mine, begin, end, input)) <= 1e-6);
          CHECK(RelativeError(ByFastPath(*linear, input), own) <= 1e-5);
          if (row_split) {
            for (size_t i = 0; i < sum.size(); ++i) sum[i] += static_cast<double>(own[i]);
            continue;
          }
          // Rows of the result at tp 1, to the last bit.
          std::vector<float> expected;
          for (int64_t m = 0; m < input.tokens; ++m)
            for (const int64_t row : mine)
              expected.push_back(y[static_cast<size_t>(m * rows + row)]);
          CHECK(own == expected);
        }
        if (row_split) {
          CHECK(columns == in);
          const bool on_blocks = storage.scheme == "fp8_block" && in / tp % storage.block_k == 0;
          const bool exact =
              tp == 1 || !storage.fp8() || on_blocks || storage.scheme == "fp8_static";
          const double error = RelativeError(std::vector<float>(sum.begin(), sum.end()), y);
          CHECK(error <= (exact ? 1e-6 : 0.15));  // elsewhere each rank has scales of its own
          ++(exact ? added : apart);
        } else {
          for (int64_t row = 0; row < rows; ++row) {
            const int times = sizes.Times(name, row, tp);
            REQUIRE(held[static_cast<size_t>(row)] == times);
            replicated += times > 1 && name != "whole" ? 1 : 0;
          }
        }
      }
      // A fused module: the parts of the rank, one after the other.
      for (int rank = 0; rank < tp; ++rank) {
        const std::vector<float> fused = ByReference(*Load(plan, "attn.qkv", rank), x);
        std::vector<float> parts[3];
        for (int p = 0; p < 3; ++p) {
          const char* const names[] = {"attn.q", "attn.k", "attn.v"};
          parts[p] = ByReference(*Load(plan, names[p], rank), x);
        }
        std::vector<float> expected;
        for (int64_t m = 0; m < x.tokens; ++m)
          for (const std::vector<float>& part : parts) {
            const int64_t rows = static_cast<int64_t>(part.size()) / x.tokens;
            expected.insert(expected.end(), part.begin() + m * rows, part.begin() + (m + 1) * rows);
          }
        CHECK(fused == expected);
      }
    }
  }
  CHECK(replicated > 500);
  CHECK(added > 30);
  CHECK(apart > 20);
}

TEST_CASE("interleaved rows put in order are the four plain tensors, for every rank") {
  constexpr char kInterleaved[] =
      R"(  qkvz: {unified: {q: k_dim, k: k_dim, v: per * v_dim, z: per * v_dim}, per: k_heads, in: in, split: column}
  ba: {unified: {b: per, a: per}, per: k_heads, in: in, split: column}
)";
  constexpr char kPlain[] =
      R"(  qkv: {unified: {q: {rows: k_dim, per: k_heads}, k: {rows: k_dim, per: k_heads}, v: {rows: v_dim, per: per * k_heads}}, in: in, split: column}
  z: {rows: v_dim, per: per * k_heads, in: in, split: column}
  b: {rows: 1, per: per * k_heads, in: in, split: column}
  a: {rows: 1, per: per * k_heads, in: in, split: column}
  qkvz: {fused: [qkv, z]}
  ba: {fused: [b, a]}
)";
  std::mt19937 random(12);
  for (int round = 0; round < 12; ++round) {
    // FP8 rows move with their scales only where every head is whole blocks.
    const bool fp8 = round % 3 == 2;
    const Storage storage = fp8 ? Storage{"fp8_block", 4, 16, DType::kBF16, DType::kF32}
                                : Storage{"bf16", 0, 0, DType::kBF16, DType::kF32};
    const int64_t unit = fp8 ? 4 : 1, per = fp8 ? 4 : static_cast<int64_t>(1 + random() % 4);
    const int64_t k_dim = unit * static_cast<int64_t>(1 + random() % 5);
    const int64_t v_dim = unit * static_cast<int64_t>(1 + random() % 5);
    const int64_t k_heads = 8, in = static_cast<int64_t>(20 + random() % 40);
    const std::map<std::string, int64_t> sizes = {
        {"k_heads", k_heads}, {"per", per}, {"k_dim", k_dim}, {"v_dim", v_dim}, {"in", in}};
    Made there(static_cast<uint32_t>(random()), storage, kInterleaved, sizes);
    Made here(static_cast<uint32_t>(random()), storage, kPlain, sizes);
    const int64_t group = 2 * k_dim + 2 * per * v_dim;
    there.AddLinear("qkvz", k_heads * group, in);
    there.AddLinear("ba", k_heads * 2 * per, in);
    // Head after head: rows [first, first + count) of each group.
    const auto of = [&](int64_t height, int64_t groups, int64_t first, int64_t count) {
      Rows rows;
      for (int64_t g = 0; g < groups; ++g)
        rows = rows + Span(g * height + first, g * height + first + count);
      return rows;
    };
    const auto qkv = [&](int64_t groups) {
      return of(group, groups, 0, k_dim) + of(group, groups, k_dim, k_dim) +
             of(group, groups, 2 * k_dim, per * v_dim);
    };
    const auto z = [&](int64_t groups) {
      return of(group, groups, 2 * k_dim + per * v_dim, per * v_dim);
    };
    const auto b = [&](int64_t groups) { return of(2 * per, groups, 0, per); };
    const auto a = [&](int64_t groups) { return of(2 * per, groups, per, per); };
    here.AddReordered("qkv", there, "qkvz", qkv(k_heads));
    here.AddReordered("z", there, "qkvz", z(k_heads));
    here.AddReordered("b", there, "ba", b(k_heads));
    here.AddReordered("a", there, "ba", a(k_heads));
    const Activations x = there.X(3, in);
    for (const int tp : {1, 2, 4, 8}) {
      const Plan unified = there.PlanAt(tp), parts = here.PlanAt(tp);
      const int64_t groups = k_heads / tp;
      for (int rank = 0; rank < tp; ++rank) {
        for (const char* const name : {"qkvz", "ba"}) {
          INFO(fmt::format("round {} {} tp {} rank {}", round, name, tp, rank));
          const Rows order =
              name == std::string("qkvz") ? qkv(groups) + z(groups) : b(groups) + a(groups);
          const std::vector<float> stored = ByReference(*Load(unified, name, rank), x);
          const std::vector<float> plain = ByReference(*Load(parts, name, rank), x);
          REQUIRE(stored.size() == order.size() * static_cast<size_t>(x.tokens));
          std::vector<float> apart;
          for (size_t m = 0; m < static_cast<size_t>(x.tokens); ++m)
            for (const int64_t row : order)
              apart.push_back(stored[m * order.size() + static_cast<size_t>(row)]);
          CHECK(apart == plain);
          CHECK((stored != plain || groups == 1));  // and without it they are not
        }
      }
    }
  }
}
