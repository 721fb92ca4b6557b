/* SPDX-License-Identifier: Apache-2.0
 * ferrule.h for C, and for whatever loads shared libraries: rules, plans, decisions.
 *
 *   ferrule_error* error = NULL;
 *   ferrule_book* book = ferrule_book_load(NULL, 0, &error);
 *   ferrule_plan* plan = book ? ferrule_plan_make(book, "/models/Qwen3-Next-FP8", 4, 0, &error)
 *                             : NULL;
 *   if (!plan) {                                     // rules or checkpoint with mistakes
 *     fputs(ferrule_error_message(error), stderr);   // as a compiler says it, many lines
 *     return ferrule_error_blame(error);             // 1, 2 or 3: the exit codes of `ferrule`
 *   }
 *   puts(ferrule_plan_summary(plan));                                    // one line for the log
 *   ferrule_plan_scheme(plan, "model.layers.0.linear_attn.in_proj_ba");  // "bf16"
 *   ferrule_plan_scheme(plan, "model.layers.0.linear_attn.in_proj_b");   // "": no such module
 *   ferrule_plan_free(plan);
 *   ferrule_book_free(book);                         // in any order: a plan keeps what it needs
 *
 * What the words mean stands in ferrule.h, here who owns what. Weights are loaded and run by
 * load_c.h.
 *
 * Text is UTF-8 and ends with a zero byte. A function that returns a handle returns NULL when it
 * fails; then `*error`, where `error` is not NULL, is an error that the caller frees. On success
 * `*error` is left alone. What a function returns as `const` belongs to the handle and lives as
 * long; what it returns as `char*` is freed by ferrule_text_free. Free functions take NULL.
 * Any other NULL where a handle or a text is asked for is an error, or gives NULL, 0 or "".
 *
 * Nothing is thrown through these functions; running out of memory is an error with blame 3.
 * Threads: handles are immutable once they are made; every function may be called from any number
 * of threads, only none that frees a handle while another uses it.
 *
 * Compatibility: structs are made by the library alone and grow at their end. A release that
 * breaks a program raises ferrule_abi_version() and the number in the library's file name. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FERRULE_ABI_VERSION 1

typedef struct ferrule_error ferrule_error;
typedef struct ferrule_book ferrule_book; /* all rule files, read and checked */
typedef struct ferrule_plan ferrule_plan; /* what every linear of one checkpoint is */

uint32_t ferrule_abi_version(void); /* FERRULE_ABI_VERSION of the library that is loaded */
const char* ferrule_version(void);  /* "0.1.0" */

/* 1: a rule file, config.json or header is wrong; 2: a path that does not exist, or the call; 3:
 * I/O, memory or a bug. 0 for NULL. */
int ferrule_error_blame(const ferrule_error* error);
const char* ferrule_error_message(const ferrule_error* error); /* ready to print, many lines */
void ferrule_error_free(ferrule_error* error);
void ferrule_text_free(char* text);

/* The installed rules and `count` directories whose files win over them. */
ferrule_book* ferrule_book_load(const char* const* directories, size_t count,
                                ferrule_error** error);
/* Model types that the book describes, sorted; `*count` of them. */
const char* const* ferrule_book_model_types(const ferrule_book* book, size_t* count);
void ferrule_book_free(ferrule_book* book);

/* FERRULE_ALLOW_ERRORS: a plan although errors were found, for tools that show them. It is never
 * loaded or run. */
#define FERRULE_ALLOW_ERRORS 1u

/* Reads config.json and headers of `directory` and decides. `tp`: tensor-parallel size, 1 to 1024;
 * `flags`: 0 or FERRULE_ALLOW_ERRORS. */
ferrule_plan* ferrule_plan_make(const ferrule_book* book, const char* directory, int32_t tp,
                                uint32_t flags, ferrule_error** error);
void ferrule_plan_free(ferrule_plan* plan);

/* The scheme in which the module runs: bf16, fp8_block …; "" when the model has no such module, or
 * for a fused name whose parts run apart. About 100 ns. */
const char* ferrule_plan_scheme(const ferrule_plan* plan, const char* module);
/* Paths of all linears and of the fused names over them; `*count` of them. Made by the first call.
 */
const char* const* ferrule_plan_modules(const ferrule_plan* plan, size_t* count);
int ferrule_plan_has_errors(const ferrule_plan* plan); /* 1 only with FERRULE_ALLOW_ERRORS */
int32_t ferrule_plan_tp(const ferrule_plan* plan);
const char* ferrule_plan_summary(const ferrule_plan* plan); /* one line, without its end */
/* Equal on all ranks that made the same plan: compare before loading. */
const char* ferrule_plan_sha(const ferrule_plan* plan);
char* ferrule_plan_report(const ferrule_plan* plan);           /* the table of `ferrule plan` */
char* ferrule_plan_json(const ferrule_plan* plan, int expand); /* of `ferrule plan -f json` */

typedef struct ferrule_finding {
  const char* code;    /* FR301 */
  const char* slug;    /* real-declared-fused */
  const char* level;   /* error | warning | note */
  const char* message; /* one line */
  const char* where;   /* file:line:column or file#/json/pointer */
} ferrule_finding;

/* What was found; `*count` of them. */
const ferrule_finding* const* ferrule_plan_findings(const ferrule_plan* plan, size_t* count);

typedef struct ferrule_rank {
  const int64_t* rows; /* begin, end, begin, end …: in the order of the rank's output */
  size_t row_ranges;   /* pairs */
  int64_t first_column, end_column;
} ferrule_rank;

typedef struct ferrule_decision {
  const char* module; /* its path in the checkpoint, or the fused name */
  const char* kind;   /* rows | unified | fused */
  const char* scheme; /* bf16 | fp8_block | fp8_channel | fp8_tensor | another name */
  const char* claim;  /* by config.json and the rules */
  const char* stored; /* by the headers; "" without headers */
  const char* dtype;  /* safetensors name of the weight's dtype, "" if unknown */
  const char* const* parts;
  size_t part_count;                 /* of a fused module, in order */
  int64_t block_rows, block_columns; /* of fp8_block, else 0 */
  const int64_t* shape;              /* rows, in; stacked experts: experts, rows, in */
  size_t shape_count;
  const ferrule_rank* const* ranks; /* one for each rank */
  size_t rank_count;
  const char* reason;  /* "listed", "not listed", "never quantized" … */
  const char* entry;   /* of the skip list, "" when none matched */
  int64_t entry_index; /* -1 when none matched */
  const char* rule_file;
  int64_t rule_line;
  const char* tensor; /* the stored weight */
} ferrule_decision;

/* Everything about one module; an error with blame 2 when the model has no such linear. The caller
 * frees it; it outlives the plan. */
ferrule_decision* ferrule_plan_decision(const ferrule_plan* plan, const char* module,
                                        ferrule_error** error);
void ferrule_decision_free(ferrule_decision* decision);

/* What `engine`, as "sglang@0.5.23", would do with the plan's checkpoint: {"as": {…}, "findings":
 * […], "summary": {…}} as in `ferrule plan -f json --as`, the findings of this comparison alone.
 * `expand`: an entry for each module. */
char* ferrule_plan_as_json(const ferrule_book* book, const ferrule_plan* plan, const char* engine,
                           int expand, ferrule_error** error);

/* A module and a skip list without a checkpoint: a row of `ferrule decide`, as RuleBook::Ask of
 * ferrule.h takes it → {"verdict": "skip", "reason": …, "code": …}, `code` null unless the verdict
 * is `error`. */
char* ferrule_ask(const ferrule_book* book, const char* question_json, ferrule_error** error);

#ifdef __cplusplus
}
#endif
