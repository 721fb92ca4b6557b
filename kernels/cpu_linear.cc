// SPDX-License-Identifier: Apache-2.0
// Group → tiles of tokens → x written once per recipe → strips of rows, spread over threads.
// Nothing is allocated: recipes, quantized x and its scales live in the workspace.
#include "kernels/cpu_linear.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <new>

#include "kernels/fp8.h"
#include "kernels/thread_pool.h"
#include "kernels/validate.h"

namespace ferrule {
namespace {

constexpr size_t kMaxFinite = 0x7F7F;

// One quantized x, shared by the segments that want it so.
struct XState {
  XRecipe recipe;
  int64_t blocks;
  int64_t width;
  float* x;        // see kernels/cpu_linear.h
  float* sx;       // [tokens, blocks] for kGroup, else [tokens]
  uint8_t* codes;  // [tokens, columns], not for kPlain
};

struct SegmentState {
  const XState* x;
  int64_t first_task;
};

struct Call {
  const CpuKernel* kernel;
  const LinearGroup* group;
  SegmentState* segments;
  XState* states;
  int32_t state_count;
  int64_t first_token;  // of the tile
  int tokens;           // in the tile
  std::atomic<int64_t> nonfinite;
};

// Hands out aligned pieces; with a null base it only counts.
class Arena {
 public:
  explicit Arena(void* base) : base_(static_cast<char*>(base)) {}
  template <typename T>
  T* Take(int64_t count) {
    char* piece = base_ == nullptr ? nullptr : base_ + used_;
    const size_t bytes = static_cast<size_t>(count) * sizeof(T);
    used_ += (bytes + kWorkspaceAlignment - 1) / kWorkspaceAlignment * kWorkspaceAlignment;
    return reinterpret_cast<T*>(piece);
  }
  size_t used() const { return used_; }

 private:
  char* base_;
  size_t used_ = 0;
};

// The first segment with the same recipe.
int32_t Leader(const LinearGroup& g, int32_t i) {
  const XRecipe recipe = RecipeOf(g.segments[i]);
  for (int32_t j = 0; j < i; ++j)
    if (g.segments[j].rows > 0 && RecipeOf(g.segments[j]) == recipe) return j;
  return i;
}

int64_t StripCount(const LinearSegment& s) { return (s.rows + kStripRows - 1) / kStripRows; }

XState TakeState(Arena* arena, const XRecipe& recipe, int64_t columns, int64_t tile) {
  XState state{};
  state.recipe = recipe;
  state.blocks = BlockCount(recipe, columns);
  state.width = (std::min<int64_t>(recipe.group, columns) + kPad - 1) / kPad * kPad;
  state.x = arena->Take<float>(state.blocks * tile * state.width);
  state.sx = arena->Take<float>(tile * (recipe.kind == XKind::kGroup ? state.blocks : 1));
  if (recipe.kind != XKind::kPlain) state.codes = arena->Take<uint8_t>(tile * columns);
  return state;
}

// Lays out the workspace and, when there is one, fills in `call`. Bytes used.
size_t LayOut(const LinearGroup& g, void* workspace, Call* call) {
  const int64_t tile = std::min<int64_t>(g.tokens, kTileTokens);
  int32_t states = 0;
  for (int32_t i = 0; i < g.segment_count; ++i)
    if (g.segments[i].rows > 0 && Leader(g, i) == i) ++states;
  if (states == 0 || tile == 0) return 0;
  Arena arena(workspace);
  auto* segment_states = arena.Take<SegmentState>(g.segment_count);
  auto* x_states = arena.Take<XState>(states);
  int32_t next = 0;
  int64_t tasks = 0;
  for (int32_t i = 0; i < g.segment_count; ++i) {
    const XState* state = nullptr;
    const bool works = g.segments[i].rows > 0;
    const int32_t leader = works ? Leader(g, i) : i;
    if (works && leader == i) {
      const XState fresh = TakeState(&arena, RecipeOf(g.segments[i]), g.in, tile);
      if (workspace != nullptr) state = new (&x_states[next]) XState(fresh);
      ++next;
    } else if (works && workspace != nullptr) {
      state = segment_states[leader].x;
    }
    if (workspace != nullptr) new (&segment_states[i]) SegmentState{state, tasks};
    tasks += StripCount(g.segments[i]);
  }
  if (call != nullptr) {
    call->segments = segment_states;
    call->states = x_states;
    call->state_count = next;
  }
  return arena.used();
}

void PrepareX(const Call& call, const XState& state, const uint16_t* x, int64_t token) {
  const QuantizeLoops& loops = call.kernel->quantize;
  const int64_t columns = call.group->in;
  const bool plain = state.recipe.kind == XKind::kPlain;
  const int64_t scales = state.recipe.kind == XKind::kGroup ? state.blocks : 1;
  uint8_t* codes = plain ? nullptr : state.codes + token * columns;
  float* sx = state.sx + token * scales;
  if (plain) {
    *sx = 1;
  } else {
    QuantizeRow(loops, state.recipe, x, columns, codes, sx);
  }
  for (int64_t b = 0; b < state.blocks; ++b) {
    const int64_t begin = BlockBegin(state.recipe, b);
    const int64_t count = BlockEnd(state.recipe, b, columns) - begin;
    float* out = state.x + (b * call.tokens + token) * state.width;
    if (plain) {
      loops.widen(x + begin, count, out);
    } else {
      loops.decode(codes + begin, count, out);
    }
    std::fill(out + count, out + state.width, 0.0f);
  }
}

void TokenTask(void* context, int64_t token) {
  Call& call = *static_cast<Call*>(context);
  const LinearGroup& g = *call.group;
  const uint16_t* x = static_cast<const uint16_t*>(g.x) + (call.first_token + token) * g.x_stride;
  if (call.kernel->quantize.amax(x, g.in) > kMaxFinite) ++call.nonfinite;
  for (int32_t i = 0; i < call.state_count; ++i) PrepareX(call, call.states[i], x, token);
}

// What is left to do for one row after the sums: its scales, bias and the type of y.
void StoreRow(const Call& call, const LinearSegment& s, const XState& x, int64_t row,
              const float* sum) {
  float scale = 1;
  const bool scaled = s.scheme == LinearScheme::kFp8Channel || s.scheme == LinearScheme::kFp8Tensor;
  if (s.scheme == LinearScheme::kFp8Tensor) scale = s.scale[0];
  if (s.scheme == LinearScheme::kFp8Channel)
    scale = s.scale[row * (s.scale_stride == 0 ? 1 : s.scale_stride)];
  for (int t = 0; t < call.tokens; ++t) {
    float y = sum[t];
    if (scaled) y = y * x.sx[t] * scale;
    if (s.bias != nullptr) y += s.bias[row];
    const int64_t at = (call.first_token + t) * s.y_stride + row;
    if (s.y_type == LinearOutput::kF32) {
      static_cast<float*>(s.y)[at] = y;
    } else {
      static_cast<uint16_t*>(s.y)[at] = FloatToBf16(y);
    }
  }
}

void StripTask(void* context, int64_t task) {
  const Call& call = *static_cast<const Call*>(context);
  const LinearGroup& g = *call.group;
  int32_t i = g.segment_count - 1;
  while (call.segments[i].first_task > task) --i;
  // Segments without rows share their first task with the next one: the last of them has the rows.
  const LinearSegment& s = g.segments[i];
  const XState& x = *call.segments[i].x;
  const int64_t row = (task - call.segments[i].first_task) * kStripRows;
  const bool blocks = s.scheme == LinearScheme::kFp8Block;
  const bool fp8 = s.scheme != LinearScheme::kBf16;
  const LinearWeight type = fp8 ? LinearWeight::kE4m3 : s.weight_type;
  const int64_t element = fp8 ? 1 : type == LinearWeight::kF32 ? 4 : 2;
  const float* sw[kStripRows];
  float sum[kStripRows * kTileTokens];
  const Strip strip{
      .weight = static_cast<const uint8_t*>(s.weight) + row * s.weight_stride * element,
      .row_bytes = s.weight_stride * element,
      .type = type,
      .rows = static_cast<int>(std::min<int64_t>(kStripRows, s.rows - row)),
      .tokens = call.tokens,
      .columns = g.in,
      .first = BlockEnd(x.recipe, 0, g.in),
      .block = x.recipe.group,
      .blocks = x.blocks,
      .width = x.width,
      .x = x.x,
      .sx = blocks ? x.sx : nullptr,
      .sw = blocks ? sw : nullptr,
      .sum = sum};
  for (int r = 0; blocks && r < kStripRows; ++r) {
    const int64_t n = std::min(row + r, s.rows - 1);
    sw[r] = s.scale + (n + s.n_phase) / s.block_n * s.scale_stride;
  }
  call.kernel->strip(strip);
  for (int r = 0; r < strip.rows; ++r) StoreRow(call, s, x, row + r, sum + r * call.tokens);
}

}  // namespace

size_t WorkspaceSize(const LinearGroup& group) {
  return ValidateSizes(group) ? LayOut(group, nullptr, nullptr) : 0;
}

LinearStatus RunCpu(const CpuKernel& kernel, const LinearGroup& group, void* workspace,
                    LinearPool* pool) {
  std::unique_lock<std::mutex> alone;
  if (pool != nullptr) alone = std::unique_lock(pool->impl().busy());
  Call call{&kernel, &group, nullptr, nullptr, 0, 0, 0, 0};
  LayOut(group, workspace, &call);
  int64_t tasks = 0;
  for (int32_t i = 0; i < group.segment_count; ++i) tasks += StripCount(group.segments[i]);
  for (; call.first_token < group.tokens; call.first_token += kTileTokens) {
    call.tokens = static_cast<int>(std::min<int64_t>(kTileTokens, group.tokens - call.first_token));
    RunTasks(pool, call.tokens, TokenTask, &call);
    RunTasks(pool, tasks, StripTask, &call);
  }
  if (group.nonfinite_tokens != nullptr) *group.nonfinite_tokens = call.nonfinite;
  return {};
}

}  // namespace ferrule
