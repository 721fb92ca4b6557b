// SPDX-License-Identifier: Apache-2.0
// What a serving engine does at start, with the installed library alone:
//
//   g++ -std=c++20 server.cc $(pkg-config --cflags --libs ferrule) -o server
//   ./server /models/Qwen3-Next-80B-A3B-Instruct-FP8 4 model.layers.3.self_attn.qkv_proj
//
// Loads the rules once, refuses to go on when they or the checkpoint are wrong, logs one line,
// answers decisions from several threads, loads one module of rank 0 and runs it. A fourth word
// names a directory of rules that win over the installed ones.
#include <ferrule/ferrule.h>
#include <ferrule/load.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

namespace {

int Refuse(const ferrule::Error& error) {
  std::fprintf(stderr, "%srefusing to start\n", error.message.c_str());
  return static_cast<int>(error.blame);
}

// One token of x in BF16: 1.0, -0.5, 0.25 …
std::vector<uint16_t> SomeInput(int64_t columns) {
  std::vector<uint16_t> x;
  for (int64_t k = 0; k < columns; ++k)
    x.push_back(static_cast<uint16_t>((k % 2 << 15) | (0x3F80 - (k % 5 << 7))));
  return x;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4 || argc > 5) {
    std::fprintf(stderr, "usage: server CHECKPOINT TP MODULE [RULES]\n");
    return 2;
  }
  const auto begin = std::chrono::steady_clock::now();
  const auto book = ferrule::RuleBook::Load(std::vector<std::string>(argv + 4, argv + argc));
  if (!book) return Refuse(book.error());
  const auto plan = book->Plan(argv[1], {.tp = std::atoi(argv[2])});
  if (!plan) return Refuse(plan.error());
  const double ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  std::fprintf(stderr, "ferrule: %s ms=%.0f\n", plan->Summary().c_str(), ms);

  // Each layer asks for itself, from whichever thread builds it.
  std::vector<std::thread> threads;
  std::atomic<int> unknown{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 10000; ++i)
        if (plan->SchemeOf(argv[3]).empty()) ++unknown;
    });
  for (std::thread& thread : threads) thread.join();
  if (unknown > 0) return Refuse({ferrule::Blame::kFile, "no such module\n"});
  const std::string_view scheme = plan->SchemeOf(argv[3]);
  std::printf("%s runs as %.*s\n", argv[3], static_cast<int>(scheme.size()), scheme.data());

  std::string error;
  const auto linear = ferrule::LoadLinear(*plan, argv[3], 0, &error);
  if (!linear) {
    std::fprintf(stderr, "%s", error.c_str());
    return 1;
  }
  const std::vector<uint16_t> x = SomeInput(linear->in);
  std::vector<float> y(static_cast<size_t>(linear->rows));
  const ferrule::LinearStatus status = linear->Run(x.data(), 1, linear->in, y.data(), linear->rows);
  if (!status) {
    std::fprintf(stderr, "%s: %s\n", argv[3], status.message);
    return 1;
  }
  std::printf("rank 0 of %d: [%lld, %lld], y[0] = %g\n", plan->tp(),
              static_cast<long long>(linear->rows), static_cast<long long>(linear->in),
              static_cast<double>(y[0]));
  return 0;
}
