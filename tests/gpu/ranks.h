// SPDX-License-Identifier: Apache-2.0
// Ranks that run the rows of RankRows, each in a thread or in a process.
#pragma once

#include <signal.h>
#include <unistd.h>

#include <barrier>
#include <cstdlib>

#include "tests/gpu/rank_group.h"

namespace ferrule::test {

// Null, or why nothing can be run on two GPUs here.
const char* NoTwoGpus();

// A rank that waits for another for ever cannot be stopped: after a minute the program aborts, and
// the case is named. One at a time.
class Deadline {
 public:
  Deadline() {
    signal(SIGALRM, [](int) { abort(); });
    alarm(60);
  }
  ~Deadline() { alarm(0); }
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;
};

// What a rank makes of a row.
struct RankResult {
  std::string said;                     // where Run refuses
  std::vector<uint8_t> eager;           // RankGroup::Bytes
  std::vector<std::vector<float>> y;    // the outputs in these
  std::vector<std::vector<float>> own;  // of LinearGpu, without the others; for sums rank 0's bias
  bool untouched = false;               // the rest of them, or all where Run refuses
  bool replayed = false;                // a graph, replayed three times, gave the same bits
};

struct RankResults {
  std::string failure;  // else a result for each row
  std::vector<RankResult> rows;
};

// Of all rows, on the current device.
std::vector<std::unique_ptr<RankGroup>> RankGroups(int rank, int tp);

// Rank `rank` of `tp`, on GPU `rank`. `together`: of the ranks in this process, or null.
RankResults RunRank(const TensorParallel::Id& id, int rank, int tp,
                    const std::vector<std::unique_ptr<RankGroup>>& groups,
                    std::barrier<>* together);

}  // namespace ferrule::test
