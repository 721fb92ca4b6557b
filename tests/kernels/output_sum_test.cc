// SPDX-License-Identifier: Apache-2.0
#include "kernels/output_sum.h"

#include <string>
#include <vector>

#include "tests/catch.h"

using namespace ferrule;

namespace {

alignas(16) char memory[4096];

struct Output {
  int64_t at, rows, stride;  // bytes from `memory`; elements
  LinearOutput type = LinearOutput::kF32;
};

// "AT+COUNT" of each piece, `h` behind those of BF16; or "segment N: what is refused".
std::string Pieces(int64_t tokens, const std::vector<Output>& outputs) {
  std::vector<LinearSegment> segments;
  for (const Output& output : outputs) {
    LinearSegment s;
    s.rows = output.rows;
    s.y = memory + output.at;
    s.y_stride = output.stride;
    s.y_type = output.type;
    segments.push_back(s);
  }
  LinearGroup group;
  group.tokens = tokens;
  group.segments = segments.data();
  group.segment_count = static_cast<int32_t>(segments.size());
  std::string text;
  for (int32_t next = 0; next < group.segment_count;) {
    OutputSum sum;
    const int32_t before = next;
    const LinearStatus status = NextSum(group, &next, &sum);
    if (!status) {
      CHECK(status.code == LinearCode::kUnsupported);
      return "segment " + std::to_string(status.segment) + ": " + status.message;
    }
    REQUIRE(next > before);
    if (sum.count == 0) continue;
    text += text.empty() ? "" : " ";
    text += std::to_string(static_cast<char*>(sum.y) - memory) + "+" + std::to_string(sum.count) +
            (sum.type == LinearOutput::kBf16 ? "h" : "");
  }
  return text;
}

}  // namespace

TEST_CASE("outputs side by side are added up over ranks in one piece, others apart") {
  constexpr LinearOutput kHalf = LinearOutput::kBf16;
  const std::string gaps0 = "segment 0: outputs that are added up over ranks have no gaps";
  const std::string gaps1 = "segment 1: outputs that are added up over ranks have no gaps";
  const struct {
    const char* sentence;
    int64_t tokens;
    std::vector<Output> outputs;
    std::string pieces;
  } rows[] = {
      {"nothing", 3, {}, ""},
      {"one output", 3, {{0, 8, 8}}, "0+24"},
      {"one of BF16", 3, {{0, 8, 8, kHalf}}, "0+24h"},
      {"two side by side", 3, {{0, 8, 12}, {32, 4, 12}}, "0+36"},
      {"three of BF16 side by side",
       2,
       {{0, 8, 14, kHalf}, {16, 4, 14, kHalf}, {24, 2, 14, kHalf}},
       "0+28h"},
      {"two side by side, then one by itself",
       2,
       {{0, 8, 12}, {32, 4, 12}, {128, 8, 8}},
       "0+24 128+16"},
      {"one by itself, then two side by side",
       2,
       {{128, 8, 8}, {0, 8, 12}, {32, 4, 12}},
       "128+16 0+24"},
      {"each by itself, one behind the other", 2, {{0, 8, 8}, {64, 8, 8}}, "0+16 64+16"},
      {"of two types, by themselves", 2, {{0, 8, 8}, {64, 8, 8, kHalf}}, "0+16 64+16h"},
      {"a gap behind", 2, {{0, 8, 12}}, gaps0},
      {"a gap behind the second", 2, {{0, 8, 16}, {32, 4, 16}}, gaps0},
      {"a gap between", 2, {{0, 8, 16}, {48, 4, 16}}, gaps0},
      {"a gap in the second", 2, {{0, 8, 8}, {128, 4, 6}}, gaps1},
      {"side by side in another order", 2, {{32, 4, 12}, {0, 8, 12}}, gaps0},
      {"side by side, of two types", 2, {{0, 8, 12}, {32, 4, 12, kHalf}}, gaps0},
      {"side by side, of two strides", 2, {{0, 8, 12}, {32, 4, 13}}, gaps0},
      {"one token has no gaps: each its own piece", 1, {{0, 8, 16}, {48, 4, 16}}, "0+8 48+4"},
      {"one token, side by side", 1, {{0, 8, 16}, {32, 4, 16}}, "0+12"},
      {"no rows", 2, {{0, 0, 8}}, ""},
      {"no rows between neighbours", 2, {{0, 8, 12}, {512, 0, 1}, {32, 4, 12}}, "0+24"},
      {"no rows last", 2, {{0, 8, 8}, {512, 0, 1}}, "0+16"},
  };
  for (const auto& row : rows) {
    INFO(row.sentence);
    CHECK(Pieces(row.tokens, row.outputs) == row.pieces);
  }
}
