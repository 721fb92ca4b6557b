// SPDX-License-Identifier: Apache-2.0
// Runs the `tests:` section of a rule file.
//
//   - it: keeps in_proj_ba in BF16 when the list names it   # a sentence; required
//     skip: [model.layers.0.linear_attn.in_proj_ba]         # entries of the skip list
//     tp: 4                                                 # 1 unless said otherwise
//     config: {num_hidden_layers: 2}                        # keys of `example:` replaced; null
//     removes model_type: qwen3_next                                # the file's first unless said
//     otherwise quantization_config: {quant_method: fp8}              # E4M3 in 128x128 blocks
//     unless said
//                                                           # otherwise; null: not quantized
//     expect:                                               # module path → what it is
//       model.layers.0.linear_attn.in_proj_ba: {scheme: bf16, kind: unified, shape: [64, 2048]}
//     dead: {model.layers.0.mlp.gat: model.layers.0.mlp.gate}  # entries that match nothing, and
//     the
//                                                           # nearest path that is offered, or null
//
// Of a module may be said: scheme, kind, shape, per_rank ([n, k] or one [n, k] for each rank),
// parts, `error: slug`, `note: slug`, or `absent: true` alone. A container of <expert> has `scheme`
// and `error`. There are no headers: rules and list decide.
//
// `error: slug` on a path holds when a finding of that slug was reported and concerns the module:
//   uncuttable         its cut for this tp is empty (a fused module: the cut of one of its parts)
//   parts-disagree     the fused module's parts were found to disagree
//   experts-disagree   two linears of this container have different schemes
//   others             the finding stands at the module's rule, names its path, or stands at the
//                      list entry that names the module; all modules when there is no plan at all
// `note: slug` is the same for notes and warnings; sub-block-shard concerns a module whose own
// scheme has blocks that its cut goes through. A test fails, too, on an error that no `error:`
// expects (several modules of one rule are one finding, and one `uncuttable` covers all of them,
// since a tp that is wrong for one module is so for many), and on a dead entry that `dead:` lacks.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/plan/book.h"

namespace ferrule {

// One field that is not as expected.
struct TestDifference {
  std::string path;  // module or list entry; empty: the test as a whole
  std::string field;
  std::string expected, got;
  std::string decided_by;  // rule and list entry; may be empty
};

struct TestOutcome {
  Location at;  // of the test
  std::string it;
  std::vector<TestDifference> differences;
  bool passed() const { return differences.empty(); }
};

struct TestReport {
  std::string file;
  std::vector<TestOutcome> outcomes;  // in file order
  // Linears and fused modules, with placeholders, that no test names. No failure.
  std::vector<std::string> untouched;
  size_t failed() const;
  size_t passed() const { return outcomes.size() - failed(); }
};

struct TestOptions {
  std::string filter;  // not empty: only tests whose sentence contains it; no coverage then
};

// Findings of a malformed test go to `out`, and its outcome is failed; other tests are run. Of a
// file that is not sound no test is run, and `out` says so.
TestReport RunRuleTests(const Book& book, std::shared_ptr<const RuleFile> file,
                        const TestOptions& options, Diagnostics* out);

// Findings of tests that cannot be read. None is run.
void CheckTests(const Book& book, const RuleFile& file, Diagnostics* out);

// The file's own example has a plan: every size can be evaluated and every path is declared once.
void CheckExample(const Book& book, std::shared_ptr<const RuleFile> file, Diagnostics* out);

// "  ok    sentence" or "  FAIL  sentence  place" with two lines for each field that differs.
std::string ToHuman(const TestOutcome& outcome);

}  // namespace ferrule
