/* SPDX-License-Identifier: Apache-2.0
 * What a server written in C, or one that loads shared libraries, does at start:
 *
 *   gcc -std=c99 server.c $(pkg-config --cflags --libs ferrule) -o server
 *   ./server /models/Qwen3-Next-80B-A3B-Instruct-FP8 4 model.layers.3.self_attn.qkv_proj
 *
 * Refuses to go on when rules or checkpoint are wrong, logs one line, says how the module runs,
 * loads what rank 0 holds of it and runs it on one token of ones. */
#include <ferrule/ferrule_c.h>
#include <ferrule/load_c.h>

#include <stdio.h>
#include <stdlib.h>

static int refuse(ferrule_error* error) {
  const int blame = ferrule_error_blame(error);
  fprintf(stderr, "%srefusing to start\n", ferrule_error_message(error));
  ferrule_error_free(error);
  return blame;
}

static int run(const ferrule_linear* linear, ferrule_error** error) {
  const int64_t rows = ferrule_linear_rows(linear), columns = ferrule_linear_columns(linear);
  uint16_t* x = malloc((size_t)columns * sizeof *x);
  float* y = malloc((size_t)rows * sizeof *y);
  int status = 3;
  if (x != NULL && y != NULL) {
    for (int64_t k = 0; k < columns; ++k) x[k] = 0x3F80; /* 1 in BF16 */
    status = ferrule_linear_run(linear, x, 1, columns, y, rows, NULL, error);
    if (status == 0)
      printf("rank 0: [%lld, %lld], y[0] = %g\n", (long long)rows, (long long)columns, y[0]);
  }
  free(x);
  free(y);
  return status;
}

int main(int argc, char** argv) {
  ferrule_error* error = NULL;
  if (argc != 4) {
    fprintf(stderr, "usage: server CHECKPOINT TP MODULE\n");
    return 2;
  }
  ferrule_book* book = ferrule_book_load(NULL, 0, &error);
  if (book == NULL) return refuse(error);
  ferrule_plan* plan = ferrule_plan_make(book, argv[1], atoi(argv[2]), 0, &error);
  ferrule_book_free(book);
  if (plan == NULL) return refuse(error);
  fprintf(stderr, "ferrule: %s\n", ferrule_plan_summary(plan));
  ferrule_decision* decision = ferrule_plan_decision(plan, argv[3], &error);
  ferrule_linear* linear =
      decision == NULL ? NULL : ferrule_linear_load(plan, argv[3], 0, &error);
  ferrule_plan_free(plan);
  if (linear == NULL) {
    ferrule_decision_free(decision);
    return refuse(error);
  }
  printf("%s runs as %s: %s, %s:%lld\n", decision->module, decision->scheme, decision->reason,
         decision->rule_file, (long long)decision->rule_line);
  ferrule_decision_free(decision);
  const int status = run(linear, &error);
  ferrule_linear_free(linear);
  return status == 0 ? 0 : refuse(error);
}
