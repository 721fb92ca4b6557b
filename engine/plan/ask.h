// SPDX-License-Identifier: Apache-2.0
// One question without a model: is this module skipped? From a list under its dialect, what is
// stored, and what somebody says is fused. No rule file and no config.json is needed.
//
//   Question q{.module = "model.layers.0.linear_attn.in_proj_ba", .list = {…}, .stored = {…}};
//   Ask(dialect, q).verdict            // skip | quant | error
//
// What is stored wins over what is said to be fused: a name that a tensor has is asked by its own
// name. A fused name is asked literally first, never by pattern, then through its parts; parts that
// are not stored do not vote, parts that disagree are an error. Dtypes that are known decide.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/lists/quant_source.h"
#include "engine/lists/skip_list.h"
#include "engine/text/json.h"

namespace ferrule {

struct FusedClaim {
  std::string name;                // last segment: qkv_proj
  std::vector<std::string> parts;  // last segments beside it: q_proj, k_proj, v_proj
};

struct Question {
  std::string module;  // dotted path
  std::vector<std::string> list;
  std::vector<std::string> include;  // all that is quantized; empty: unknown
  std::vector<std::string> layers;   // names that are quantized, whatever their schemes
  // Whole segments `from` of an entry, anywhere, are read as `to`; a dot at the end of either is
  // dropped. The first that applies, once.
  Renames renames;
  std::string wrapper_suffix;       // `.linear`: at the end of entries, not of module paths
  std::vector<FusedClaim> fused;    // what an engine claims, which need not be true
  std::vector<std::string> stored;  // modules that the checkpoint stores; empty: unknown
  std::vector<std::string> absent;  // modules that it does not store
  std::vector<std::pair<std::string, DType>> dtypes;  // of tensors, by full or last name
  int64_t tp = 1;
  int64_t size = 0;  // rows or columns that tp cuts; 0: unknown
};

enum class Verdict : uint8_t { kSkip, kQuant, kError };
std::string_view VerdictName(Verdict verdict);  // skip, quant, error

struct AskAnswer {
  Verdict verdict = Verdict::kError;
  std::string reason;  // which entry names it, or what is wrong
  std::string code;    // of an error: FR403
};

AskAnswer Ask(const Dialect& dialect, const Question& question);

// A JSON object with `module`, `ignore` and optionally `fused` {name: [part]}, `renames` {from:
// to}, `include` [name], `quantized_layers` {name: …}, `wrapper_suffix`, `disk` [name],
// `absent_on_disk` [name], `disk_dtype` {tensor: dtype}, `tp`, `size`; other keys are free text.
// Nothing, with a finding, when one of them is of a wrong kind.
std::optional<Question> ReadQuestion(const JsonValue& row, Diagnostics* out);

// Such a row with `quant_method`, by which its dialect is found (`-` and `_` are alike; `any`: the
// first of `dialects`), asked. Nothing, with a finding, when a key is missing or of a wrong kind,
// or no dialect claims the method.
std::optional<AskAnswer> AskRow(const Dialects& dialects, const JsonValue& row, Diagnostics* out);

}  // namespace ferrule
