/* SPDX-License-Identifier: Apache-2.0
 * load.h for C: the weights of one module, loaded from a checkpoint as planned, and y = x · Wᵀ on
 * the CPU. Handles, errors and threads are as in ferrule_c.h.
 *
 *   ferrule_linear* qkv = ferrule_linear_load(plan, "model.layers.3.self_attn.qkv_proj", 0,
 * &error); float* y = malloc(tokens * ferrule_linear_rows(qkv) * sizeof *y); if
 * (ferrule_linear_run(qkv, x, tokens, ferrule_linear_columns(qkv), y, ferrule_linear_rows(qkv),
 * NULL, &error) != 0) … ferrule_linear_free(qkv);
 *
 * Not offered: the GPU. Its calls take descriptors of C++ (linear_gpu.h), which a C program would
 * fill in without what checks them. */
#pragma once

#include "engine/ferrule_c.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ferrule_linear ferrule_linear; /* what one rank holds of a module; owns its memory */
typedef struct ferrule_pool ferrule_pool;     /* threads for linears */

/* Loads a real or a fused module for `rank` of the plan's tensor-parallel size. The plan may be
 * freed before it. */
ferrule_linear* ferrule_linear_load(const ferrule_plan* plan, const char* module, int32_t rank,
                                    ferrule_error** error);
void ferrule_linear_free(ferrule_linear* linear);

int64_t ferrule_linear_rows(const ferrule_linear* linear);    /* of this rank: columns of y */
int64_t ferrule_linear_columns(const ferrule_linear* linear); /* of x that this rank needs */
/* The first of them in the whole x: 0 unless ranks are cut by columns; their y are then summed. */
int64_t ferrule_linear_first_column(const ferrule_linear* linear);
uint64_t ferrule_linear_bytes(const ferrule_linear* linear); /* of weights, scales and biases */

/* `threads` counts the caller's; below 1 means 1, above 256 means 256. Create it once, after a
 * fork; calls that find it busy wait. */
ferrule_pool* ferrule_pool_create(int32_t threads, ferrule_error** error);
void ferrule_pool_free(ferrule_pool* pool);

/* y = x · Wᵀ, plus the bias where the checkpoint has one. `x`: BF16 [tokens, columns], its tokens
 * `x_stride` elements apart; `y`: float32 [tokens, rows], `y_stride` apart; strides are at least
 * their rows; x and y must not overlap. `pool` may be NULL: the caller's thread alone. 0, or the
 * blame of `*error`, with nothing written. Allocates its workspace. */
int ferrule_linear_run(const ferrule_linear* linear, const void* x, int64_t tokens,
                       int64_t x_stride, float* y, int64_t y_stride, ferrule_pool* pool,
                       ferrule_error** error);

#ifdef __cplusplus
}
#endif
