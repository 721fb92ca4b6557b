// SPDX-License-Identifier: Apache-2.0
// Outputs of every type and layout, added up over two GPUs: by threads of this process against one
// GPU, and by a process for each GPU against the threads.
#include <cuda_runtime_api.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <thread>

#include "kernels/fp8.h"
#include "kernels/linear_gpu.h"
#include "tests/catch.h"
#include "tests/engine/temp_dir.h"
#include "tests/gpu/agreement.h"
#include "tests/gpu/ranks.h"
#include "tests/skip.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

constexpr int kRanks = 2;
using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kMost(60);

std::array<RankResults, kRanks> ByThreads() {
  const Deadline deadline;
  std::array<RankResults, kRanks> results;
  std::vector<std::unique_ptr<RankGroup>> groups[kRanks];
  for (int rank = 0; rank < kRanks; ++rank) {
    REQUIRE(cudaSetDevice(rank) == cudaSuccess);
    groups[rank] = RankGroups(rank, kRanks);
  }
  REQUIRE(cudaSetDevice(0) == cudaSuccess);
  TensorParallel::Id id;
  std::string error;
  REQUIRE(TensorParallel::MakeId(&id, &error));
  std::barrier<> together(kRanks);
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < kRanks; ++rank)
    threads.emplace_back([&, rank] {
      results[rank] = RunRank(id, static_cast<int>(rank), kRanks, groups[rank], &together);
    });
  for (std::thread& thread : threads) thread.join();
  for (const RankResults& result : results) REQUIRE(result.failure == "");
  return results;
}

double Norm(const std::vector<float>& y) {
  double sum = 0;
  for (const float value : y) sum += static_cast<double>(value) * value;
  return std::sqrt(sum);
}

// a + b, rounded to `type`.
std::vector<float> Sum(const std::vector<float>& a, const std::vector<float>& b,
                       LinearOutput type) {
  std::vector<float> sum;
  for (size_t n = 0; n < a.size(); ++n)
    sum.push_back(type == LinearOutput::kF32 ? a[n] + b[n] : Bf16ToFloat(FloatToBf16(a[n] + b[n])));
  return sum;
}

// Outputs [tokens, …] of two ranks with half of the columns each.
std::vector<float> Beside(const std::vector<float>& a, const std::vector<float>& b,
                          int64_t tokens) {
  std::vector<float> y;
  const auto width = static_cast<int64_t>(a.size()) / tokens;
  for (int64_t m = 0; m < tokens; ++m)
    for (const std::vector<float>* half : {&a, &b})
      y.insert(y.end(), half->begin() + m * width, half->begin() + (m + 1) * width);
  return y;
}

// How far y of two ranks may be from y of one, in the Frobenius norm: each is at most kF32Bound of
// what it is made of (the partial sums p0 and p1 of two ranks) from the law. BF16 rounds to nearest
// with 8 bits, which moves one number by up to 2^-8 of it, but many by 1.7e-3 in the norm, below
// 2^-9: y of one rank once; of two ranks p0, p1 and their sum.
double Allowed(const std::vector<float>& one, const std::vector<float>& two, double partial,
               bool summed, LinearOutput type) {
  const double rounded = Norm(one) + Norm(two) + (summed ? partial : 0);
  return kF32Bound * (Norm(one) + partial) +
         (type == LinearOutput::kBf16 ? std::ldexp(rounded, -9) : 0);
}

// Outputs are compared in brackets: Catch2 would print all of them.
void CheckRow(const RankRow& row, RankGroup* whole, const RankResult& first,
              const RankResult& second) {
  for (const RankResult* result : {&first, &second}) {
    CHECK(result->said == row.refused);
    CHECK(result->untouched);
  }
  if (!row.refused.empty()) return;
  CHECK(first.replayed);
  CHECK(second.replayed);
  if (row.split != LinearSplit::kColumn)
    CHECK((first.eager == second.eager));  // all ranks have the same bits
  REQUIRE(LinearGpu(whole->group(), whole->workspace(), whole->workspace_size(), nullptr));
  const std::vector<std::vector<float>> one = whole->Outputs(whole->Bytes(nullptr));
  const bool summed = row.split == LinearSplit::kRow;
  for (size_t i = 0; i < row.shapes.size(); ++i) {
    INFO("segment " << i);
    const LinearOutput type = row.shapes[i].y_type;
    if (summed) {
      CHECK((first.y[i] == Sum(first.own[i], second.own[i], type)));
    } else {
      CHECK((first.y[i] == first.own[i]));
      CHECK((second.y[i] == second.own[i]));
    }
    const std::vector<float> two = row.split == LinearSplit::kColumn
                                       ? Beside(first.y[i], second.y[i], row.tokens)
                                       : first.y[i];
    const double partial = summed ? Norm(first.own[i]) + Norm(second.own[i]) : Norm(two);
    REQUIRE(two.size() == one[i].size());
    std::vector<float> difference;
    for (size_t n = 0; n < two.size(); ++n) difference.push_back(two[n] - one[i][n]);
    CHECK(Norm(difference) <= Allowed(one[i], two, partial, summed, type));
  }
}

// ---- processes ----

constexpr char kRank[] = "FERRULE_TEST_RANK", kFolder[] = "FERRULE_TEST_FOLDER";

std::optional<std::string> TextOf(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// This program again, for the one hidden case; what it says goes to a file.
pid_t Spawn(int rank, const TempDir& folder) {
  std::string values[] = {kRank, kFolder};
  values[0].append("=").append(std::to_string(rank));
  values[1].append("=").append(folder.path());
  std::vector<char*> environment;
  for (char** at = environ; *at != nullptr; ++at) environment.push_back(*at);
  for (std::string& value : values) environment.push_back(value.data());
  environment.push_back(nullptr);
  std::string name = "gpu_tests", filter = "[rank]";
  char* arguments[] = {name.data(), filter.data(), nullptr};
  const std::string said = folder / ("said" + std::to_string(rank));
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 1, said.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_adddup2(&files, 1, 2);
  pid_t pid = -1;
  const int error =
      posix_spawn(&pid, "/proc/self/exe", &files, nullptr, arguments, environment.data());
  posix_spawn_file_actions_destroy(&files);
  return error == 0 ? pid : -1;
}

// Exit status, or -1 where it was killed or did not end in time.
int Wait(pid_t pid, Clock::time_point end) {
  int status = 0;
  while (waitpid(pid, &status, WNOHANG) == 0) {
    if (Clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      continue;
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

TEST_CASE("two GPUs add up outputs of every type and layout, and a bias once") {
  if (NoTwoGpus() != nullptr) return Skip(NoTwoGpus());
  const std::array<RankResults, kRanks> results = ByThreads();
  const std::vector<std::unique_ptr<RankGroup>> whole = RankGroups(0, 1);
  const std::vector<RankRow> rows = RankRows();
  for (size_t i = 0; i < rows.size(); ++i) {
    INFO(rows[i].sentence);
    CheckRow(rows[i], whole[i].get(), results[0].rows.at(i), results[1].rows.at(i));
  }
}

TEST_CASE("a process for each of two GPUs gives the bits that threads give") {
  if (NoTwoGpus() != nullptr) return Skip(NoTwoGpus());
  const TempDir folder;
  const Clock::time_point end = Clock::now() + kMost;
  pid_t pids[kRanks];
  for (int rank = 0; rank < kRanks; ++rank) pids[rank] = Spawn(rank, folder);
  int status[kRanks];
  for (int rank = 0; rank < kRanks; ++rank)
    status[rank] = pids[rank] < 0 ? -1 : Wait(pids[rank], end);
  for (int rank = 0; rank < kRanks; ++rank) {
    INFO("rank " << rank << " said:\n"
                 << TextOf(folder / ("said" + std::to_string(rank))).value_or("nothing"));
    CHECK(status[rank] == 0);
  }
  const std::array<RankResults, kRanks> results = ByThreads();
  for (size_t rank = 0; rank < kRanks; ++rank) {
    std::string bits;
    for (const RankResult& row : results[rank].rows)
      bits.append(row.eager.begin(), row.eager.end());
    INFO("rank " << rank);
    CHECK((TextOf(folder / ("y" + std::to_string(rank))) == bits));
  }
}

// A rank of the case above.
TEST_CASE("one of two processes", "[.][rank]") {
  const char* text = std::getenv(kRank);
  const char* path = std::getenv(kFolder);
  if (text == nullptr || path == nullptr) return Skip("the case of two processes runs it");
  const int rank = std::atoi(text);
  const std::string folder = path, ready = folder + "/id";
  REQUIRE(cudaSetDevice(rank) == cudaSuccess);
  TensorParallel::Id id;
  if (rank == 0) {
    std::string error;
    REQUIRE(TensorParallel::MakeId(&id, &error));
    std::ofstream(ready + ".part", std::ios::binary).write(id.bytes, sizeof id.bytes);
    REQUIRE(std::rename((ready + ".part").c_str(), ready.c_str()) == 0);
  } else {
    std::optional<std::string> sent;
    for (const auto end = Clock::now() + kMost; !sent && Clock::now() < end; sent = TextOf(ready))
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    REQUIRE((sent && sent->size() == sizeof id.bytes));
    std::memcpy(id.bytes, sent->data(), sizeof id.bytes);
  }
  const RankResults results = RunRank(id, rank, kRanks, RankGroups(rank, kRanks), nullptr);
  REQUIRE(results.failure == "");
  std::ofstream out(folder + "/y" + std::to_string(rank), std::ios::binary);
  for (const RankResult& row : results.rows)
    out.write(reinterpret_cast<const char*>(row.eager.data()),
              static_cast<std::streamsize>(row.eager.size()));
  REQUIRE(out.flush());
}
