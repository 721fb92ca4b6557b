// SPDX-License-Identifier: Apache-2.0
// LinearGpu: the steps of kernels/gpu_steps.h → arguments of kernels → launches.
#include "kernels/gpu_linear.h"

#include <atomic>

#include "kernels/cluster_count.h"
#include "kernels/cuda_error.h"
#include "kernels/large_m_linear.h"
#include "kernels/linear_gpu.h"
#include "kernels/plain_linear.h"
#include "kernels/quantize_gpu.h"
#include "kernels/tensor_map.h"
#include "kernels/tile_linear.h"
#include "kernels/validate.h"

namespace ferrule {
namespace {

constexpr uintptr_t kAlignment = 256;

class Launcher {
 public:
  Launcher(const LinearGroup& group, void* workspace, void* stream)
      : group_(group),
        x_(static_cast<const __nv_bfloat16*>(group.x)),
        workspace_(static_cast<uint8_t*>(workspace)),
        stream_(static_cast<cudaStream_t>(stream)) {}

  static LinearStatus Take(const GpuStep& step, void* self) {
    return static_cast<Launcher*>(self)->Launch(step);
  }

 private:
  LinearStatus Launch(const GpuStep& step) {
    switch (step.kernel) {
      case GpuKernel::kCount:
        return CudaStatus(LaunchCountNonfinite(x_, group_.x_stride, tokens(), columns(),
                                               group_.nonfinite_tokens, stream_));
      case GpuKernel::kSmall:
        return Small(step);
      case GpuKernel::kQuantize:
        return Quantize(step);
      case GpuKernel::kTile:
        return Tile(step);
      case GpuKernel::kLarge:
        return Large(step);
      case GpuKernel::kAny:
      case GpuKernel::kPlain:
        break;
    }
    return Plain(step);
  }

  int tokens() const { return static_cast<int>(group_.tokens); }
  int columns() const { return static_cast<int>(group_.in); }
  XLayout Layout(const XRecipe& recipe) const { return LayOutX(recipe, group_.tokens, group_.in); }
  float* Scales(const XLayout& x) const { return reinterpret_cast<float*>(workspace_ + x.scales); }

  // The segments of a step, numbered through in tiles of so many rows, and their tensor maps, of
  // which a box is 1 / `share` of a tile.
  bool Segments(const GpuStep& step, int tile_rows, int share, GpuSegment* segments,
                CUtensorMap* maps) const {
    int tile = 0;
    for (int i = 0; i < step.count; ++i) {
      const LinearSegment& s = group_.segments[step.segments[i]];
      GpuSegment& g = segments[i];
      const bool bf16 = s.scheme == LinearScheme::kBf16;
      g.scale = bf16 ? nullptr : s.scale;
      g.bias = s.bias;
      g.y = s.y;
      g.y_stride = s.y_stride;
      g.scale_stride = static_cast<int>(s.scale_stride);
      g.rows = static_cast<int>(s.rows);
      const bool large = step.kernel == GpuKernel::kLarge;
      g.first_row = FirstRow(s, large || tile_rows > kBlock ? kBlock : tile_rows);
      g.scale_half = bf16 ? 0 : s.n_phase / kSmallTile;
      g.first_tile = tile;
      tile += large ? LargeTileCount(s, tile_rows) : TileCount(s, tile_rows);
      g.tiles_end = tile;
      g.y_f32 = s.y_type == LinearOutput::kF32 ? 1 : 0;
      if (!MakeMap(&maps[i], s.weight, bf16 ? 2 : 1, group_.in, s.rows, s.weight_stride,
                   tile_rows / share))
        return false;
    }
    return true;
  }

  static LinearStatus NoMap() {
    return {LinearCode::kDevice, -1, "the driver makes no tensor map of these sizes"};
  }

  LinearStatus Small(const GpuStep& step) {
    SmallArguments a{};
    a.x = x_;
    a.x_stride = group_.x_stride;
    a.tokens = tokens();
    a.columns = columns();
    a.k_phase = step.recipe.phase;
    a.blocks = step.blocks;
    a.ue8m0 = step.recipe.ue8m0 ? 1 : 0;
    a.segment_count = step.count;
    a.tiles = step.tiles;
    a.plan = step.small;
    if (a.plan.quantized) {
      const XLayout layout = Layout(step.recipe);
      a.quantized.scales = Scales(layout);
      a.quantized.scale_stride = static_cast<int>(layout.scale_stride);
      if (!MakeMap(&a.quantized.codes, workspace_, 1, layout.pitch, group_.tokens, layout.pitch,
                   a.plan.token_tile))
        return NoMap();
    }
    if (!Segments(step, kSmallTile, 1, a.segments, a.weights)) return NoMap();
    return CudaStatus(LaunchSmall(a, stream_));
  }

  LinearStatus Quantize(const GpuStep& step) {
    const XLayout layout = Layout(step.recipe);
    QuantizeArguments a{};
    a.x = x_;
    a.x_stride = group_.x_stride;
    a.tokens = tokens();
    a.columns = columns();
    a.blocks = step.blocks;
    a.recipe = step.recipe;
    a.codes = workspace_;
    a.pitch = layout.pitch;
    a.scales = Scales(layout);
    a.scale_stride = static_cast<int>(layout.scale_stride);
    return CudaStatus(LaunchQuantize(a, stream_));
  }

  LinearStatus Tile(const GpuStep& step) {
    TileArguments a{};
    const bool fp8 = step.recipe.kind != XKind::kPlain;
    bool bf16 = false;
    for (int i = 0; i < step.count; ++i)
      bf16 = bf16 || group_.segments[step.segments[i]].scheme == LinearScheme::kBf16;
    a.tokens = tokens();
    a.columns = columns();
    a.k_phase = step.recipe.phase;
    a.blocks = step.blocks;
    a.bf16_boxes = (columns() + kBoxBytes / 2 - 1) / (kBoxBytes / 2);
    a.segment_count = step.count;
    a.row_tiles = step.tiles;
    a.plan = step.tile;
    const int n = a.plan.token_tile / a.plan.share;  // what one CTA brings
    if (fp8) {
      const XLayout layout = Layout(step.recipe);
      a.x_scales = Scales(layout);
      a.x_scale_stride = static_cast<int>(layout.scale_stride);
      if (!MakeMap(&a.x_fp8, workspace_, 1, layout.pitch, group_.tokens, layout.pitch, n))
        return NoMap();
    }
    if (bf16 && !MakeMap(&a.x_bf16, x_, 2, group_.in, group_.tokens, group_.x_stride, n))
      return NoMap();
    if (!Segments(step, a.plan.row_tile, 1, a.segments, a.weights)) return NoMap();
    return CudaStatus(LaunchTile(a, stream_));
  }

  LinearStatus Large(const GpuStep& step) {
    LargeArguments a{};
    const XLayout layout = Layout(step.recipe);
    a.tokens = tokens();
    a.k_phase = step.recipe.phase;
    a.blocks = step.blocks;
    a.segment_count = step.count;
    a.x_scales = Scales(layout);
    a.x_scale_stride = static_cast<int>(layout.scale_stride);
    a.plan = step.large;
    if (!MakeMap(&a.x, workspace_, 1, layout.pitch, group_.tokens, layout.pitch,
                 a.plan.token_tile / a.plan.share_x) ||
        !Segments(step, a.plan.row_tile, a.plan.share_w, a.segments, a.weights))
      return NoMap();
    return CudaStatus(LaunchLarge(a, stream_));
  }

  LinearStatus Plain(const GpuStep& step) {
    PlainArguments a{};
    a.segment = group_.segments[step.segments[0]];
    a.x = x_;
    a.x_stride = group_.x_stride;
    a.tokens = tokens();
    a.columns = columns();
    const XLayout layout = Layout(step.recipe);
    a.codes = workspace_;
    a.pitch = layout.pitch;
    a.x_scales = step.recipe.kind == XKind::kPlain ? nullptr : Scales(layout);
    a.x_scale_stride = static_cast<int>(layout.scale_stride);
    return CudaStatus(LaunchPlain(a, stream_));
  }

  const LinearGroup& group_;
  const __nv_bfloat16* x_;
  uint8_t* workspace_;
  cudaStream_t stream_;
};

const char* AskDevice(int device) {
  int major = 0, minor = 0;
  if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess ||
      cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) != cudaSuccess)
    return "CUDA does not answer";
  if (major != 9 || minor != 0) return "the GPU is no Hopper (compute capability 9.0)";
  for (const int slices : {2, 4, 8, 16}) {
    int count = 0;
    if (CountClusters(slices, &count) == cudaSuccess) LearnClusters(slices, count);
  }
  return nullptr;
}

}  // namespace

const char* GpuRefuses() {
  enum : int8_t { kUnknown, kRuns, kRefuses };
  static std::atomic<int8_t> known[64];
  int device = 0;
  const cudaError_t error = cudaGetDevice(&device);
  if (error != cudaSuccess) return CudaStatus(error).message;
  if (device < 64 && known[device].load(std::memory_order_relaxed) == kRuns) return nullptr;
  const char* reason = AskDevice(device);
  if (device < 64 && reason == nullptr) known[device].store(kRuns, std::memory_order_relaxed);
  return reason;
}

size_t WorkspaceSizeGpu(const LinearGroup& group) {
  if (!ValidateSizes(group) || group.tokens == 0) return 0;
  size_t bytes = 0;
  for (int32_t i = 0; i < group.segment_count; ++i) {
    const XRecipe recipe = RecipeOf(group.segments[i]);
    if (group.segments[i].rows == 0 || recipe.kind == XKind::kPlain) continue;
    const size_t needed = LayOutX(recipe, group.tokens, group.in).bytes;
    if (needed > bytes) bytes = needed;
  }
  return bytes;
}

LinearStatus RunGpu(const LinearGroup& group, const GpuChoice& choice, void* workspace,
                    size_t workspace_size, void* stream) {
  const LinearStatus status = Validate(group);
  if (!status) return status;
  const char* reason = GpuRefuses();
  if (reason != nullptr) return {LinearCode::kUnsupported, -1, reason};
  if (group.tokens == 0) {
    if (group.nonfinite_tokens == nullptr) return {};
    return CudaStatus(cudaMemsetAsync(group.nonfinite_tokens, 0, sizeof(int64_t),
                                      static_cast<cudaStream_t>(stream)));
  }
  const size_t needed = WorkspaceSizeGpu(group);
  if (needed > 0 && workspace == nullptr)
    return {LinearCode::kWorkspace, -1, "the workspace is null"};
  if (reinterpret_cast<uintptr_t>(workspace) % kAlignment != 0)
    return {LinearCode::kWorkspace, -1, "the workspace is not aligned to 256"};
  if (needed > workspace_size) return {LinearCode::kWorkspace, -1, "the workspace is too small"};
  Launcher launcher(group, workspace, stream);
  return ForEachStep(group, choice, Launcher::Take, &launcher);
}

LinearStatus LinearGpu(const LinearGroup& group, void* workspace, size_t workspace_size,
                       void* stream) {
  return RunGpu(group, GpuChoice(), workspace, workspace_size, stream);
}

}  // namespace ferrule
