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
//   plan->At("model.layers.3.self_attn.qkv_proj")->parts;      // its q_proj, k_proj, v_proj
//   book->PlanAs(*plan, "sglang@0.5.23")->modules();           // what that engine would do
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

// One module as a version of a serving engine builds it.
struct EngineDecision {
  std::string name;                  // in the engine
  std::string layer;                 // linear | experts | head | embedding
  bool draft = false;                // of the draft model
  bool asked = true;                 // false: built without the quantization config
  std::vector<std::string> modules;  // of the checkpoint, in order; of experts those of expert 0
  std::string result;                // skip | quant | none | error | unsupported
  std::string word;                  // the function's own: quant:override, target:Linear …
  std::string error;                 // class of an error; of `unsupported` the construct
  std::string refusal;               // of the block check: the engine's message
  std::string stored;                // scheme of all of `modules`; empty when they differ
  bool widened = false;              // stored quantized, dequantized by the engine's loader
  std::string verdict;               // alike | otherwise | refuses | unknown
};

// The answer to one question without a model.
struct SkipAnswer {
  std::string verdict;  // skip | quant | error
  std::string reason;   // which entry names it, or what is wrong
  std::string code;     // of an error: FR403
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
  // The same; an error with blame kCommand that says what was probably meant.
  Result<Decision> Require(std::string_view module) const;
  // Paths of all linears that the model has and of the fused names over them, in the order of
  // `Json(true)`. Makes the list anew: 151,000 names in tens of milliseconds.
  std::vector<std::string> Modules() const;

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

// A plan as one version of a serving engine would make it: `ferrule plan --as`.
class EnginePlan {
 public:
  const std::string& engine() const;   // sglang
  const std::string& version() const;  // 0.5.23
  // What the engine says instead of building the model; empty when it builds it.
  const std::string& refusal() const;
  const std::vector<EngineDecision>& modules() const;
  // Where it decides otherwise than stored, or refuses: FR801 … FR803.
  const std::vector<PlanFinding>& findings() const;
  bool has_errors() const;
  // {"as": {…}, "findings": […], "summary": {…}}: as in `ferrule plan -f json --as`.
  std::string Json(bool expand = false) const;

  struct State;
  explicit EnginePlan(std::shared_ptr<const State> state) : state_(std::move(state)) {}

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

  // What `engine`, as `sglang@0.5.23`, would do with the plan's checkpoint. Reads the descriptions
  // of engines beside the rules. An error when the engine or the model in it is not described;
  // where the engine decides otherwise or refuses there is an EnginePlan that says so.
  Result<EnginePlan> PlanAs(const ModelPlan& plan, const std::string& engine) const;

  // A module and a skip list alone, without a checkpoint: one row of `ferrule decide` as JSON,
  //   {"module": "model.layers.0.mlp.gate_up_proj", "quant_method": "fp8", "ignore": ["lm_head"],
  //    "fused": {"gate_up_proj": ["gate_proj", "up_proj"]}}
  // with the optional keys `include`, `quantized_layers`, `renames`, `wrapper_suffix`, `disk`,
  // `absent_on_disk`, `disk_dtype`, `tp` and `size`. An error when it is no such row.
  Result<SkipAnswer> Ask(std::string_view question) const;

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
