// SPDX-License-Identifier: Apache-2.0
#include "kernels/tensor_parallel.h"

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "kernels/cuda_error.h"
#include "kernels/linear_gpu.h"
#include "kernels/output_sum.h"
#include "kernels/plan_agreement.h"
#include "kernels/shared_library.h"

namespace ferrule {
namespace {

static_assert(sizeof(TensorParallel::Id) == sizeof(ncclUniqueId), "an id is NCCL's");
constexpr size_t kShaBytes = 64;       // of a hash in hexadecimal
constexpr int32_t kMostSegments = 16;  // whose biases rank 0 alone adds

struct Library {
  decltype(&ncclGetUniqueId) get_id;
  decltype(&ncclCommInitRank) init;
  decltype(&ncclCommDestroy) destroy;
  decltype(&ncclAllReduce) all_reduce;
  decltype(&ncclAllGather) all_gather;
  decltype(&ncclGetErrorString) error_string;
};

// Null where there is none. Stays loaded.
const Library* TheLibrary() {
  static Library library;
  static const bool found =
      FindFunctions("libnccl.so.2", {{"ncclGetUniqueId", &library.get_id},
                                     {"ncclCommInitRank", &library.init},
                                     {"ncclCommDestroy", &library.destroy},
                                     {"ncclAllReduce", &library.all_reduce},
                                     {"ncclAllGather", &library.all_gather},
                                     {"ncclGetErrorString", &library.error_string}});
  return found ? &library : nullptr;
}

// Empty, or what went wrong. Every rank's hash to every rank.
std::string Exchange(ncclComm_t communicator, int rank, int tp, std::string_view own,
                     std::vector<std::string>* plans) {
  const size_t all = kShaBytes * static_cast<size_t>(tp);
  std::vector<char> text(all, '\0');
  std::memcpy(text.data() + static_cast<size_t>(rank) * kShaBytes, own.data(),
              std::min(own.size(), kShaBytes));
  void* memory = nullptr;
  cudaStream_t stream = nullptr;
  cudaError_t error = cudaMalloc(&memory, all);
  if (error == cudaSuccess) error = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  if (error == cudaSuccess) error = cudaMemcpy(memory, text.data(), all, cudaMemcpyHostToDevice);
  std::string failure;
  if (error == cudaSuccess) {
    const char* from = static_cast<const char*>(memory) + static_cast<size_t>(rank) * kShaBytes;
    const ncclResult_t result =
        TheLibrary()->all_gather(from, memory, kShaBytes, ncclChar, communicator, stream);
    if (result != ncclSuccess) failure = TheLibrary()->error_string(result);
    error = cudaStreamSynchronize(stream);
  }
  if (error == cudaSuccess) error = cudaMemcpy(text.data(), memory, all, cudaMemcpyDeviceToHost);
  if (stream != nullptr) cudaStreamDestroy(stream);
  cudaFree(memory);
  if (failure.empty() && error != cudaSuccess) failure = CudaStatus(error).message;
  for (int r = 0; r < tp; ++r) {
    const char* begin = text.data() + static_cast<size_t>(r) * kShaBytes;
    plans->emplace_back(begin, strnlen(begin, kShaBytes));
  }
  return failure;
}

}  // namespace

const char* TensorParallel::Absent() {
  return TheLibrary() != nullptr ? nullptr : "there is no NCCL (libnccl.so.2)";
}

bool TensorParallel::MakeId(Id* id, std::string* error) {
  if (Absent() != nullptr) {
    *error = Absent();
    return false;
  }
  ncclUniqueId made;
  const ncclResult_t result = TheLibrary()->get_id(&made);
  if (result != ncclSuccess) *error = TheLibrary()->error_string(result);
  std::memcpy(id, &made, sizeof(made));
  return result == ncclSuccess;
}

std::unique_ptr<TensorParallel> TensorParallel::Create(const Id& id, int rank, int tp,
                                                       std::string_view plan_sha,
                                                       std::string* error) {
  if (Absent() != nullptr) {
    *error = Absent();
    return nullptr;
  }
  if (tp < 1 || rank < 0 || rank >= tp) {
    *error = "there is no rank " + std::to_string(rank) + " at tp " + std::to_string(tp);
    return nullptr;
  }
  std::unique_ptr<TensorParallel> made(new TensorParallel);
  made->rank_ = rank;
  made->tp_ = tp;
  ncclUniqueId unique;
  std::memcpy(&unique, &id, sizeof(unique));
  ncclComm_t communicator = nullptr;
  const ncclResult_t result = TheLibrary()->init(&communicator, tp, unique, rank);
  if (result != ncclSuccess) {
    *error = TheLibrary()->error_string(result);
    return nullptr;
  }
  made->communicator_ = communicator;
  std::vector<std::string> plans;
  *error = Exchange(communicator, rank, tp, plan_sha, &plans);
  if (error->empty()) *error = PlansDiffer(plans);
  return error->empty() ? std::move(made) : nullptr;
}

TensorParallel::~TensorParallel() {
  if (communicator_ != nullptr) TheLibrary()->destroy(static_cast<ncclComm_t>(communicator_));
}

LinearStatus TensorParallel::AddUp(const LinearGroup& group, void* stream) const {
  for (int32_t next = 0; next < group.segment_count;) {
    OutputSum sum;
    const LinearStatus status = NextSum(group, &next, &sum);
    if (!status) return status;
    if (sum.count == 0) continue;
    const ncclResult_t result = TheLibrary()->all_reduce(
        sum.y, sum.y, static_cast<size_t>(sum.count),
        sum.type == LinearOutput::kF32 ? ncclFloat32 : ncclBfloat16, ncclSum,
        static_cast<ncclComm_t>(communicator_), static_cast<cudaStream_t>(stream));
    if (result != ncclSuccess) return {LinearCode::kDevice, -1, TheLibrary()->error_string(result)};
  }
  return {};
}

LinearStatus TensorParallel::Run(const LinearGroup& group, LinearSplit split, void* workspace,
                                 size_t workspace_size, void* stream) const {
  if (split != LinearSplit::kRow || tp_ == 1 || group.tokens == 0)
    return LinearGpu(group, workspace, workspace_size, stream);
  // Refused by all ranks and before anything runs: one that went on would wait for the others.
  LinearStatus status = Validate(group);
  for (int32_t next = 0; status && next < group.segment_count;) {
    OutputSum sum;
    status = NextSum(group, &next, &sum);
  }
  if (!status) return status;
  bool biased = false;
  for (int32_t i = 0; i < group.segment_count; ++i)
    biased = biased || group.segments[i].bias != nullptr;
  if (biased && group.segment_count > kMostSegments)
    return {LinearCode::kUnsupported, -1, "more than 16 row-split segments with a bias"};
  LinearGroup own = group;
  std::array<LinearSegment, kMostSegments> segments;
  if (biased && rank_ > 0) {
    std::copy_n(group.segments, group.segment_count, segments.begin());
    for (LinearSegment& s : segments) s.bias = nullptr;
    own.segments = segments.data();
  }
  status = LinearGpu(own, workspace, workspace_size, stream);
  return status ? AddUp(group, stream) : status;
}

}  // namespace ferrule
