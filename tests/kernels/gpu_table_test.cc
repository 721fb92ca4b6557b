// SPDX-License-Identifier: Apache-2.0
// The table of measured choices: rows that are found, rows that are not, and that all can be run.
#include "kernels/gpu_table.h"

#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>

#include "tests/catch.h"

using namespace ferrule;

namespace {

struct Line {
  int rows, in;
  std::string up_to;
};

// The rows as the file has them, read as text: the look-up is not asked about itself.
std::vector<Line> Lines() {
  std::ifstream file(FERRULE_TABLE);
  std::vector<Line> lines;
  for (std::string text; std::getline(file, text);) {
    Line line;
    char up_to[16] = {};
    if (std::sscanf(text.c_str(), "{%d, %d, %15[^,],", &line.rows, &line.in, up_to) != 3) continue;
    line.up_to = up_to;
    lines.push_back(line);
  }
  return lines;
}

}  // namespace

TEST_CASE("rows are sorted and each shape answers for all numbers of tokens") {
  const std::vector<Line> lines = Lines();
  REQUIRE(lines.size() > 20);
  for (size_t i = 0; i < lines.size(); ++i) {
    const Line& line = lines[i];
    INFO(line.rows << " x " << line.in << " up to " << line.up_to);
    const bool last =
        i + 1 == lines.size() || lines[i + 1].rows != line.rows || lines[i + 1].in != line.in;
    CHECK((line.up_to == "kAny") == last);
    if (!last) CHECK(lines[i + 1].up_to != line.up_to);
    if (i > 0)
      CHECK((lines[i - 1].rows < line.rows ||
             (lines[i - 1].rows == line.rows && lines[i - 1].in <= line.in)));
    GpuChoice choice;
    CHECK(LookUpGpu(line.rows, line.in, last ? 100000 : std::stoi(line.up_to), &choice) ==
          (last ? kAnyTokens : std::stoi(line.up_to)));
    CHECK(choice.kernel != GpuKernel::kAny);
    if (choice.kernel == GpuKernel::kLt)  // what runs where cuBLASLt does not
      CHECK(LargeTileExists(choice.large.token_tile, choice.large.row_tile));
  }
}

TEST_CASE("what was not measured has no row") {
  GpuChoice choice;
  CHECK(LookUpGpu(12288, 2049, 1, &choice) == 0);
  CHECK(LookUpGpu(1, 1, 1, &choice) == 0);
  CHECK(LookUpGpu(1000000, 2048, 1, &choice) == 0);
  CHECK(choice.kernel == GpuKernel::kAny);
}

TEST_CASE("all of the table was measured on the GPU that is named for it") {
  std::ifstream file(FERRULE_TABLE);
  int named = 0;
  for (std::string text; std::getline(file, text);)
    if (text.rfind("// ferrule ", 0) == 0) {
      ++named;
      CHECK(text.find(std::string(", ") + kTableGpu + ", ") != std::string::npos);
    }
  CHECK(named > 10);
}

TEST_CASE("every choice of the table fits the shape that it is for") {
  for (const Line& line : Lines())
    for (const int tokens : {1,   4,   5,   8,   16,   17,   32,   33,   64,   128,
                             129, 256, 257, 512, 1023, 1024, 1537, 2048, 4096, 5000}) {
      GpuChoice choice;
      REQUIRE(LookUpGpu(line.rows, line.in, tokens, &choice));
      INFO(line.rows << " x " << line.in << ", " << tokens << " tokens");
      const int blocks = (line.in + 127) / 128;
      if (choice.kernel == GpuKernel::kSmall) {
        // Of more tokens than it takes ForEachStep has kLarge (gpu_steps_test.cc).
        if (tokens <= kSmallTokens * kSmallTokenTiles)
          CHECK(PlanSmall({tokens, blocks, (line.rows + 63) / 64, 0}, choice.small).fits);
      } else if (choice.kernel == GpuKernel::kFewRows) {
        CHECK(PlanFewRows({tokens, blocks, (line.rows + 7) / 8}, choice.few_rows).fits);
      } else if (choice.kernel == GpuKernel::kLarge) {
        LargeShape shape;
        shape.tokens = tokens;
        shape.blocks = blocks;
        shape.rows_of_tiles[0] = line.rows;
        shape.segments = 1;
        const LargePlan plan = PlanLarge(shape, choice.large);
        CHECK(plan.token_tile == choice.large.token_tile);
        CHECK(plan.row_tile == choice.large.row_tile);
        CHECK(plan.stages >= 3);
        CHECK(plan.shared <= 227 * 1024);
      } else {
        TileShape shape;
        shape.tokens = tokens;
        shape.blocks = blocks;
        shape.row_blocks = (line.rows + 127) / 128;
        shape.wide_tiles = (line.rows + 255) / 256;
        const TilePlan plan = PlanTile(shape, choice.tile);
        CHECK(plan.stages >= 2);
        CHECK(plan.shared <= 227 * 1024);
        CHECK((plan.slices == 1 || plan.row_tile == 128));
      }
    }
}
