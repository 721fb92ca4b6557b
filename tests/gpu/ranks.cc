// SPDX-License-Identifier: Apache-2.0
#include "tests/gpu/ranks.h"

#include <cuda_runtime_api.h>

#include "kernels/linear_gpu.h"

namespace ferrule::test {
namespace {

// Three replays of one capture; false where CUDA or Run fails.
bool Replay(const TensorParallel& ranks, const RankGroup& own, LinearSplit split,
            cudaStream_t stream) {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  bool good = cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess;
  good = good && ranks.Run(own.group(), split, own.workspace(), own.workspace_size(), stream);
  good = cudaStreamEndCapture(stream, &graph) == cudaSuccess && good;
  good = good && cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess;
  for (int n = 0; n < 3; ++n) good = good && cudaGraphLaunch(exec, stream) == cudaSuccess;
  good = cudaStreamSynchronize(stream) == cudaSuccess && good;
  if (exec != nullptr) cudaGraphExecDestroy(exec);
  if (graph != nullptr) cudaGraphDestroy(graph);
  return good;
}

// Empty, or what failed.
std::string RunRow(const TensorParallel& ranks, const RankRow& row, RankGroup* own,
                   cudaStream_t stream, RankResult* result) {
  const LinearStatus status =
      ranks.Run(own->group(), row.split, own->workspace(), own->workspace_size(), stream);
  result->eager = own->Bytes(stream);
  if (result->eager.empty()) return "no outputs";
  result->untouched = own->Untouched(result->eager, !status);
  if (!status) {
    result->said = status.message;
    return "";
  }
  result->y = own->Outputs(result->eager);
  if (!own->Poison()) return "no poison";
  if (!Replay(ranks, *own, row.split, stream)) return "no replay";
  result->replayed = own->Bytes(stream) == result->eager;
  if (row.split == LinearSplit::kRow && ranks.rank() > 0) own->DropBiases();
  if (!LinearGpu(own->group(), own->workspace(), own->workspace_size(), stream))
    return "LinearGpu refuses";
  const std::vector<uint8_t> alone = own->Bytes(stream);
  if (alone.empty()) return "no outputs of its own";
  result->own = own->Outputs(alone);
  return "";
}

}  // namespace

const char* NoTwoGpus() {
  int count = 0;
  if (TensorParallel::Absent() != nullptr) return TensorParallel::Absent();
  return cudaGetDeviceCount(&count) != cudaSuccess || count < 2 ? "there are no two GPUs" : nullptr;
}

std::vector<std::unique_ptr<RankGroup>> RankGroups(int rank, int tp) {
  std::vector<std::unique_ptr<RankGroup>> groups;
  for (const RankRow& row : RankRows()) {
    TestGroup whole(static_cast<uint32_t>(61 + groups.size()), row.tokens, 1024, row.shapes);
    groups.push_back(std::make_unique<RankGroup>(whole.group(), row, rank, tp));
  }
  return groups;
}

RankResults RunRank(const TensorParallel::Id& id, int rank, int tp,
                    const std::vector<std::unique_ptr<RankGroup>>& groups,
                    std::barrier<>* together) {
  RankResults results;
  cudaStream_t stream = nullptr;
  std::unique_ptr<TensorParallel> ranks;
  if (cudaSetDevice(rank) != cudaSuccess || cudaStreamCreate(&stream) != cudaSuccess)
    results.failure = "no stream";
  else
    ranks = TensorParallel::Create(id, rank, tp, "the same plan", &results.failure);
  const std::vector<RankRow> rows = RankRows();
  for (size_t i = 0; i < rows.size() && results.failure.empty(); ++i) {
    // Nobody begins a capture or takes memory while another's sum waits for it.
    if (together != nullptr) together->arrive_and_wait();
    const std::string failure =
        RunRow(*ranks, rows[i], groups[i].get(), stream, &results.rows.emplace_back());
    if (!failure.empty()) results.failure = rows[i].sentence + ": " + failure;
  }
  if (together != nullptr) together->arrive_and_drop();
  if (stream != nullptr) cudaStreamDestroy(stream);
  return results;
}

}  // namespace ferrule::test
