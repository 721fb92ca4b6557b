// SPDX-License-Identifier: Apache-2.0
// LinearGpu: the steps of kernels/gpu_steps.h → arguments of kernels → launches.
#include "kernels/gpu_linear.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>

#include "kernels/cluster_count.h"
#include "kernels/cuda_error.h"
#include "kernels/few_rows_linear.h"
#include "kernels/gpu_segments.h"
#include "kernels/large_m_linear.h"
#include "kernels/linear_gpu.h"
#include "kernels/lt_linear.h"
#include "kernels/mma_linear.h"
#include "kernels/plain_linear.h"
#include "kernels/quantize_gpu.h"
#include "kernels/tensor_map.h"
#include "kernels/tile_linear.h"
#include "kernels/validate.h"

namespace ferrule {
namespace {

constexpr int kOldest = 80;  // compute capability of Ampere

class Launcher {
 public:
  Launcher(const LinearGroup& group, void* workspace, const LaunchTarget& to)
      : group_(group),
        x_(static_cast<const __nv_bfloat16*>(group.x)),
        workspace_(static_cast<uint8_t*>(workspace)),
        to_(to) {}

  static LinearStatus Take(const GpuStep& step, void* self) {
    return static_cast<Launcher*>(self)->Launch(step);
  }

 private:
  LinearStatus Launch(const GpuStep& step) {
    switch (step.kernel) {
      case GpuKernel::kCount:
        return CudaStatus(LaunchCountNonfinite(x_, group_.x_stride, tokens(), columns(),
                                               group_.nonfinite_tokens, to_));
      case GpuKernel::kSmall:
        return Small(step);
      case GpuKernel::kFewRows:
        return FewRows(step);
      case GpuKernel::kQuantize:
        return Quantize(step);
      case GpuKernel::kTile:
        return Tile(step);
      case GpuKernel::kLarge:
        return Large(step);
      case GpuKernel::kLt:
        return Lt(step);
      case GpuKernel::kAny:
      case GpuKernel::kMma:
      case GpuKernel::kPlain:
        break;
    }
    return Plain(step);
  }

  int tokens() const { return static_cast<int>(group_.tokens); }
  int columns() const { return static_cast<int>(group_.in); }
  XLayout Layout(const XRecipe& recipe, bool tight = false) const {
    return LayOutX(recipe, group_.tokens, group_.in, tight);
  }
  float* Scales(const XLayout& x) const { return reinterpret_cast<float*>(workspace_ + x.scales); }

  // From a block's scales of x to the next one's.
  static int StrideOfScales(const XRecipe& recipe, const XLayout& layout) {
    return HasTokenScales(recipe) ? 0 : static_cast<int>(layout.scale_stride);
  }

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
      g.scale_stride = ScalesOfBlocks(s) ? static_cast<int>(s.scale_stride) : 0;
      g.scale_blocks = ScalesOfBlocks(s) || bf16              ? step.blocks
                       : s.scheme == LinearScheme::kFp8Tensor ? 1
                                                              : 0;
      g.rows = static_cast<int>(s.rows);
      const bool large = step.kernel == GpuKernel::kLarge;
      g.first_row = FirstRow(s, large || tile_rows > kBlock ? kBlock : tile_rows);
      g.scale_half = bf16 ? 0 : s.n_phase / kSmallTile;
      g.first_tile = tile;
      const int rows = large && bf16 ? step.large.bf16_tile : tile_rows;
      tile += large ? LargeTileCount(s, rows) : TileCount(s, rows);
      g.tiles_end = tile;
      g.y_f32 = s.y_type == LinearOutput::kF32 ? 1 : 0;
      if (!MakeMap(&maps[i], s.weight, bf16 ? 2 : 1, group_.in, s.rows, s.weight_stride,
                   rows / share))
        return false;
    }
    return true;
  }

  // Of y in BF16 without a bias, where TMA can write it: boxes and rows begin and end at multiples
  // of 16 bytes.
  bool MapsOfY(const GpuStep& step, LargeArguments* a) const {
    for (int i = 0; i < step.count; ++i) {
      const LinearSegment& s = group_.segments[step.segments[i]];
      if (s.y_type != LinearOutput::kBf16 || s.bias != nullptr || s.y_stride % 8 != 0 ||
          s.rows % 8 != 0 || FirstRow(s, kBlock) % 8 != 0 ||
          reinterpret_cast<uintptr_t>(s.y) % 16 != 0)
        continue;
      if (!MakeMap(&a->y.of[i], s.y, 2, s.rows, group_.tokens, s.y_stride, 16,
                   LargeBox(a->plan.row_tile)))
        return false;
      a->sends |= 1 << i;
    }
    return true;
  }

  static LinearStatus NoMap() {
    return {LinearCode::kDevice, -1, "the driver makes no tensor map of these sizes"};
  }

  // What kernels that quantize x themselves are told of it, and of the step.
  template <typename Arguments>
  void Describe(const GpuStep& step, Arguments* a) const {
    a->x = x_;
    a->x_stride = group_.x_stride;
    a->tokens = tokens();
    a->columns = columns();
    a->k_phase = step.recipe.phase;
    a->blocks = step.blocks;
    a->ue8m0 = step.recipe.ue8m0 ? 1 : 0;
    a->segment_count = step.count;
    a->tiles = step.tiles;
  }

  LinearStatus Small(const GpuStep& step) {
    SmallArguments a{};
    Describe(step, &a);
    a.plan = step.small;
    if (a.plan.quantized) {
      const XLayout layout = Layout(step.recipe);
      a.quantized.scales = Scales(layout);
      a.quantized.scale_stride = StrideOfScales(step.recipe, layout);
      if (!MakeMap(&a.quantized.codes, workspace_, 1, layout.pitch, layout.rows, layout.pitch,
                   a.plan.token_tile))
        return NoMap();
    }
    if (!Segments(step, kSmallTile, 1, a.segments, a.weights)) return NoMap();
    return CudaStatus(LaunchSmall(a, to_));
  }

  LinearStatus FewRows(const GpuStep& step) {
    FewRowsArguments a{};
    Describe(step, &a);
    a.fp8 = step.recipe.kind != XKind::kPlain;
    a.plan = step.few_rows;
    int tiles = 0;
    for (int i = 0; i < step.count; ++i) {
      const LinearSegment& s = group_.segments[step.segments[i]];
      tiles += static_cast<int>((s.rows + kFewRowsTile - 1) / kFewRowsTile);
      a.segments[i] = {static_cast<const uint8_t*>(s.weight),
                       s.weight_stride * (a.fp8 ? 1 : 2),
                       a.fp8 ? s.scale : nullptr,
                       s.bias,
                       s.y,
                       s.y_stride,
                       static_cast<int>(s.scale_stride),
                       static_cast<int>(s.rows),
                       s.n_phase,
                       tiles,
                       s.y_type == LinearOutput::kF32 ? 1 : 0};
    }
    return CudaStatus(LaunchFewRows(a, to_));
  }

  LinearStatus Quantize(const GpuStep& step) {
    const XLayout layout = Layout(step.recipe, step.tight);
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
    if (step.repeats >= 0) {
      const LinearSegment& s = group_.segments[step.repeats];
      a.value = s.scale;
      a.repeats = s.rows;
      a.repeated = reinterpret_cast<float*>(workspace_ + EndOfX(group_));
    }
    return CudaStatus(LaunchQuantize(a, to_));
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
      if (!MakeMap(&a.x_fp8, workspace_, 1, layout.pitch, layout.rows, layout.pitch, n))
        return NoMap();
    }
    if (bf16 && !MakeMap(&a.x_bf16, x_, 2, group_.in, group_.tokens, group_.x_stride, n))
      return NoMap();
    if (!Segments(step, a.plan.row_tile, 1, a.segments, a.weights)) return NoMap();
    return CudaStatus(LaunchTile(a, to_));
  }

  LinearStatus Large(const GpuStep& step) {
    LargeArguments a{};
    a.tokens = tokens();
    a.k_phase = step.recipe.phase;
    a.blocks = step.blocks;
    const int bf16_columns = kBoxBytes / 2 * step.large.bf16_boxes;
    a.bf16_stages = (columns() + bf16_columns - 1) / bf16_columns;
    a.segment_count = step.count;
    a.plan = step.large;
    a.token_scales = HasTokenScales(step.recipe);
    if (step.recipe.kind != XKind::kPlain) {
      const XLayout layout = Layout(step.recipe);
      a.x_scales = Scales(layout);
      a.x_scale_stride = StrideOfScales(step.recipe, layout);
      if (!MakeMap(&a.x, workspace_, 1, layout.pitch, layout.rows, layout.pitch,
                   a.plan.token_tile / a.plan.share_x))
        return NoMap();
    }
    if (!Segments(step, a.plan.row_tile, a.plan.share_w, a.segments, a.weights)) return NoMap();
    if (a.plan.sends && !a.token_scales && !MapsOfY(step, &a)) return NoMap();
    if (a.plan.bf16_tile > 0 &&
        !MakeMap(&a.x_bf16, x_, 2, group_.in, group_.tokens, group_.x_stride, a.plan.token_tile))
      return NoMap();
    return CudaStatus(LaunchLarge(a, to_));
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
    a.invariant = step.invariant;
    return CudaStatus(step.kernel == GpuKernel::kMma ? LaunchMma(a, to_) : LaunchPlain(a, to_));
  }

  LinearStatus Lt(const GpuStep& step) {
    if (to_.nodes != nullptr) {
      if (!to_.nodes->recording())
        return {LinearCode::kUnsupported, -1, "cuBLASLt's kernels are not changed in a graph"};
      to_.nodes->Fix();
    }
    const LinearSegment& s = group_.segments[step.segments[0]];
    LtArguments a{};
    a.shape = step.lt;
    a.w = s.weight;
    a.y = s.y;
    uint8_t* behind = workspace_ + EndOfX(group_);
    if (step.lt.scales == LtScales::kNone) {
      a.x = group_.x;
    } else {
      a.x = workspace_;
      a.w_scale = s.scale;
      a.x_scale = step.lt.scales == LtScales::kScalar ? s.input_scale
                                                      : Scales(Layout(step.recipe, step.tight));
      const size_t bytes = LtScaleBytes(s, step.lt);
      if (bytes > 0) {  // one scale for each row, all the same
        if (!step.repeated) {
          const cudaError_t error =
              LaunchRepeat(s.scale, s.rows, reinterpret_cast<float*>(behind), to_);
          if (error != cudaSuccess) return CudaStatus(error);
        }
        a.w_scale = reinterpret_cast<const float*>(behind);
        behind += bytes;
      }
    }
    a.workspace = behind;
    LtReady(step.lt, &a.workspace_size);
    return LtRun(a, to_.stream);
  }

  const LinearGroup& group_;
  const __nv_bfloat16* x_;
  uint8_t* workspace_;
  const LaunchTarget& to_;
};

constexpr int kDevices = 64;  // of which what they said is remembered

// What a device said of itself. Written once, under `asking`, before `sm` says so.
struct Device {
  std::atomic<int> sm{0};  // 0: not asked yet
  GpuRoom room;
};
Device devices[kDevices];
std::mutex asking;

cudaError_t AskRoom(int device, GpuRoom* room) {
  const cudaError_t error =
      cudaDeviceGetAttribute(&room->multiprocessors, cudaDevAttrMultiProcessorCount, device);
  if (error != cudaSuccess) return error;
  room->clusters[1] = room->multiprocessors;
  for (const int slices : {2, 3, 4, 5, 6, 7, 8, 16}) {
    const cudaError_t counted = CountClusters(slices, &room->clusters[slices]);
    if (counted != cudaSuccess) return counted;
  }
  return cudaSuccess;
}

// Compute capability of the current device, 90 for 9.0, 1 where it has no code in here; below 0:
// CUDA does not answer. What is planned there depends on that device alone.
int AskDevice(const GpuRoom** room = nullptr) {
  int device = 0, major = 0, minor = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return -1;
  Device* known = device < kDevices ? &devices[device] : nullptr;
  if (room != nullptr) *room = known == nullptr ? nullptr : &known->room;
  if (known != nullptr)
    if (const int sm = known->sm.load(std::memory_order_acquire)) return sm;
  if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess ||
      cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) != cudaSuccess)
    return -1;
  const int sm = HasQuantize() ? major * 10 + minor : 1;
  if (known == nullptr) return sm;
  const std::lock_guard<std::mutex> lock(asking);
  if (known->sm.load(std::memory_order_relaxed) != 0) return sm;
  GpuRoom found;
  if (sm == kHopper && AskRoom(device, &found) == cudaSuccess) known->room = found;
  known->sm.store(sm, std::memory_order_release);
  return sm;
}

}  // namespace

GpuTarget CurrentGpu() {
  GpuTarget target{0, LtReady, LtMostWorkspace};
  target.sm = AskDevice(&target.room);
  return target;
}

const char* GpuRefuses() {
  int device = 0;
  const cudaError_t error = cudaGetDevice(&device);
  if (error != cudaSuccess) return CudaStatus(error).message;
  const int sm = AskDevice();
  if (sm < 0) return "CUDA does not answer";
  if (sm == 1) return "it was built without code for this GPU (meson option gpu_archs)";
  return sm < kOldest ? "the GPU is older than Ampere (compute capability 8.0)" : nullptr;
}

LinearStatus PrepareGpu(const LinearGroup& group, const GpuChoice& choice) {
  const LinearStatus status = Validate(group);
  if (!status || group.tokens == 0) return status;
  const GpuTarget target = CurrentGpu();
  for (int32_t i = 0; i < group.segment_count && LtAbsent() == nullptr; ++i) {
    LtShape shape;
    if (!WantsLt(group, i, choice, target.sm, &shape)) continue;
    const LinearStatus prepared = LtPrepare(shape);
    if (!prepared && prepared.code != LinearCode::kUnsupported) return prepared;
  }
  // cuBLASLt may have its workspace filled by CUDA, which looks at addresses while it captures.
  void* held = nullptr;
  if (WorkspaceBehindX(group, choice, target) > 0) {
    const cudaError_t error = cudaMalloc(&held, WorkspaceNow(group, choice, target));
    if (error != cudaSuccess) return CudaStatus(error);
  }
  void* nowhere = reinterpret_cast<void*>(kGpuAlignment);
  const LinearStatus loaded =
      LoadKernels(group, choice, held != nullptr ? held : nowhere, SIZE_MAX);
  cudaFree(held);
  return loaded;
}

LinearStatus PrepareGpu(const LinearGroup& group) { return PrepareGpu(group, GpuChoice()); }

size_t WorkspaceSizeGpu(const LinearGroup& group, const GpuChoice& choice) {
  if (!ValidateSizes(group) || group.tokens == 0) return 0;
  return WorkspaceUpTo(group, choice, CurrentGpu());
}

size_t WorkspaceSizeGpu(const LinearGroup& group) { return WorkspaceSizeGpu(group, GpuChoice()); }

LinearStatus SubmitGpu(const LinearGroup& group, const GpuChoice& choice, void* workspace,
                       size_t workspace_size, const LaunchTarget& to) {
  const LinearStatus status = Validate(group);
  if (!status) return status;
  const GpuTarget target = CurrentGpu();  // asked once: a call is to cost the host little
  if (target.sm < kOldest) {
    const char* reason = GpuRefuses();
    return {LinearCode::kUnsupported, -1, reason != nullptr ? reason : "CUDA does not answer"};
  }
  if (group.tokens == 0) {
    if (group.nonfinite_tokens == nullptr) return {};
    return CudaStatus(cudaMemsetAsync(group.nonfinite_tokens, 0, sizeof(int64_t), to.stream));
  }
  const size_t needed = WorkspaceNow(group, choice, target);
  if (needed > 0 && workspace == nullptr)
    return {LinearCode::kWorkspace, -1, "the workspace is null"};
  if (reinterpret_cast<uintptr_t>(workspace) % kGpuAlignment != 0)
    return {LinearCode::kWorkspace, -1, "the workspace is not aligned to 256"};
  if (needed > workspace_size) return {LinearCode::kWorkspace, -1, "the workspace is too small"};
  Launcher launcher(group, workspace, to);
  return ForEachStep(group, choice, target, Launcher::Take, &launcher);
}

LinearStatus RunGpu(const LinearGroup& group, const GpuChoice& choice, void* workspace,
                    size_t workspace_size, void* stream) {
  return SubmitGpu(group, choice, workspace, workspace_size, static_cast<cudaStream_t>(stream));
}

LinearStatus LinearGpu(const LinearGroup& group, void* workspace, size_t workspace_size,
                       void* stream) {
  return RunGpu(group, GpuChoice(), workspace, workspace_size, stream);
}

std::string ExplainGpu(const LinearGroup& group, const GpuChoice& choice) {
  const GpuTarget target = CurrentGpu();
  return ExplainSteps(group, choice, target.sm < kOldest ? GpuTarget() : target);
}

std::string ExplainGpu(const LinearGroup& group) { return ExplainGpu(group, GpuChoice()); }

}  // namespace ferrule
