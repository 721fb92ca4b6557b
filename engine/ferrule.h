// SPDX-License-Identifier: Apache-2.0
// ferrule: what runs in FP8 and what in BF16, why, and whether the checkpoint agrees.
//
//   #include <ferrule/ferrule.h>
//
//   ferrule::Result<ferrule::RuleBook> book = ferrule::RuleBook::Load();
//   if (!book) return Refuse(book.error().message);  // rules with mistakes are never used
//   ferrule::Result<ferrule::ModelPlan> plan =
//       book->Plan("/models/Qwen3-Next-FP8", {.tp = 4});
//   if (!plan) return Refuse(plan.error().message);            // as a compiler says it, many lines
//   log(plan->Summary());                                      // one line for the log
//   plan->SchemeOf("model.layers.0.linear_attn.in_proj_ba");   // "bf16"
//   plan->SchemeOf("model.layers.0.mlp.experts");              // "fp8_block": all experts agree
//   plan->SchemeOf("model.layers.0.linear_attn.in_proj_b");    // "": the model has no such module
//   plan->At("model.layers.3.self_attn.qkv_proj")->parts;      // q_proj, k_proj, v_proj
//
// A rule file says, for one model family, which names of a checkpoint are real tensors (rows,
// unified) and which are names that a serving engine makes up (fused). The plan joins that with the
// skip list of config.json and with the safetensors headers. Only headers are read; 150,000 tensors
// take some tens of milliseconds. Weights are loaded by load.h and run by linear.h.
//
// Errors are values: nothing throws, except that running out of memory ends in std::bad_alloc.
// Threads: RuleBook and ModelPlan are immutable handles; copies are cheap and share; every const
// function may be called from any number of threads. RuleStore may be used from many threads too.
//
// Weak points: headers cannot prove the order of rows in a unified tensor (`layout` in the JSON
// says `verified: false`); stacked experts are planned but have no single product to run.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/text/result.h"

namespace ferrule {

struct Plan;  // of the engine
struct Book;
class Diagnostics;

// What one rank holds of a module's [rows, in] matrix.
struct RankRows {
  std::vector<std::pair<int64_t, int64_t>> rows;  // begin, end; in the order of the rank's output
  int64_t first_column = 0, end_column = 0;
};

struct Decision {
  std::string module;              // its path in the checkpoint, or the fused name
  std::string kind;                // rows | unified | fused
  std::vector<std::string> parts;  // of a fused module, in order
  std::string scheme;              // bf16 | fp8_block | fp8_channel | fp8_tensor | another name
  std::string claim;               // by config.json and the rules
  std::string stored;              // by the headers; empty without headers
  std::string dtype;               // safetensors name of the weight's dtype, if known
  int64_t block_rows = 0, block_columns = 0;  // of fp8_block
  std::vector<int64_t> shape;                 // [rows, in]; stacked experts: [experts, rows, in]
  std::vector<RankRows> ranks;                // one for each rank
  std::string reason;                         // "listed", "not listed", "never quantized" …
  std::string entry;                          // of the skip list, empty when none matched
  int entry_index = -1;
  std::string rule_file;
  int rule_line = 0;
  std::string tensor;  // the stored weight
};

struct PlanFinding {
  std::string code;   // FR301
  std::string slug;   // real-declared-fused
  std::string level;  // error | warning | note
  std::string message;
  std::string where;  // file:line:column or file#/json/pointer
};

struct PlanRequest {
  int tp = 1;  // tensor-parallel size, 1 to 1,024
  // Gives a plan although there are errors among its findings: for tools that show them. Such a
  // plan is never loaded or run.
  bool allow_errors = false;
};

class ModelPlan {
 public:
  // Name of the scheme in which the module runs; empty when the model has no such module, or for a
  // fused name whose parts run apart. Also for containers of experts. About 100 ns.
  std::string_view SchemeOf(std::string_view module) const;
  // Everything about one module; nothing when the model has no such linear.
  std::optional<Decision> At(std::string_view module) const;

  bool has_errors() const;
  const std::vector<PlanFinding>& findings() const;
  // Scheme → number of modules as a runtime builds them (fused modules once, their parts not).
  const std::vector<std::pair<std::string, int64_t>>& counts() const;
  // "model_type=… tp=4 modules=… bf16=… fp8_block=… errors=0 warnings=0 notes=0 rules=… plan=…"
  const std::string& Summary() const;
  std::string Report() const;                   // the table of `ferrule plan`
  std::string Json(bool expand = false) const;  // as `ferrule plan -f json`
  // Equal on all ranks that made the same plan: compare before loading.
  const std::string& sha() const;
  int tp() const;

  const Plan& internal() const;  // for kernels/ only

  struct State;
  explicit ModelPlan(std::shared_ptr<const State> state) : state_(std::move(state)) {}

 private:
  std::shared_ptr<const State> state_;
};

class RuleBook {
 public:
  // The installed rules, and directories whose files win over them (rule files by model_type,
  // dialects by name). Any mistake in any file is an error that reports all of them.
  static Result<RuleBook> Load(const std::vector<std::string>& overlays = {});

  // Reads config.json and headers of a checkpoint directory or header fixture and decides. An error
  // when anything at error level was found, with the whole text; warnings and notes are in the
  // plan.
  Result<ModelPlan> Plan(const std::string& directory, const PlanRequest& request = {}) const;

  // Model types that the book describes, sorted.
  std::vector<std::string> model_types() const;

  explicit RuleBook(std::shared_ptr<const Book> book) : book_(std::move(book)) {}

 private:
  std::shared_ptr<const Book> book_;
};

// A book that can be replaced while others read it. Plans made before keep their old book.
class RuleStore {
 public:
  static Result<std::unique_ptr<RuleStore>> Open(std::vector<std::string> overlays = {});

  RuleBook Get() const { return *book_.load(); }
  // Reads all files again; the old book stays when the new one has an error. Returns the error's
  // text then, empty on success.
  std::string Reload();

 private:
  explicit RuleStore(std::vector<std::string> overlays, RuleBook book)
      : overlays_(std::move(overlays)), book_(std::make_shared<const RuleBook>(std::move(book))) {}
  const std::vector<std::string> overlays_;
  std::atomic<std::shared_ptr<const RuleBook>> book_;
};

}  // namespace ferrule
