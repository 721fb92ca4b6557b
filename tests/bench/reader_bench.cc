// SPDX-License-Identifier: Apache-2.0
// OpenCheckpoint on 92,000 tensors in 91 files, named and shaped as DeepSeek-V3's, next to Python
// loading the same files with `json`. The files are sparse: only headers take space.
//
//   reader_bench [DIRECTORY]   another checkpoint or fixture instead of the generated one
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "engine/checkpoint.h"
#include "tests/engine/temp_dir.h"

using namespace ferrule;

namespace {

struct Entry {
  std::string name, dtype;
  uint64_t rows, columns;  // no columns: one dimension
};

// A weight, and its scales when it is quantized in blocks.
void Linear(const std::string& path, uint64_t rows, uint64_t columns, bool fp8,
            std::vector<Entry>* out) {
  out->push_back({path + ".weight", fp8 ? "F8_E4M3" : "BF16", rows, columns});
  if (fp8)
    out->push_back({path + ".weight_scale_inv", "F32", (rows + 127) / 128, (columns + 127) / 128});
}

void Mlp(const std::string& path, uint64_t width, std::vector<Entry>* out) {
  Linear(path + ".gate_proj", width, 7168, true, out);
  Linear(path + ".up_proj", width, 7168, true, out);
  Linear(path + ".down_proj", 7168, width, true, out);
}

std::vector<Entry> Model() {
  std::vector<Entry> out;
  Linear("model.embed_tokens", 129280, 7168, false, &out);
  for (int layer = 0; layer < 62; ++layer) {
    const std::string path = fmt::format("model.layers.{}", layer), attn = path + ".self_attn";
    out.push_back({path + ".input_layernorm.weight", "BF16", 7168, 0});
    out.push_back({path + ".post_attention_layernorm.weight", "BF16", 7168, 0});
    out.push_back({attn + ".q_a_layernorm.weight", "BF16", 1536, 0});
    out.push_back({attn + ".kv_a_layernorm.weight", "BF16", 512, 0});
    Linear(attn + ".q_a_proj", 1536, 7168, true, &out);
    Linear(attn + ".q_b_proj", 24576, 1536, true, &out);
    Linear(attn + ".kv_a_proj_with_mqa", 576, 7168, true, &out);
    Linear(attn + ".kv_b_proj", 32768, 512, true, &out);
    Linear(attn + ".o_proj", 7168, 16384, true, &out);
    if (layer < 3) {
      Mlp(path + ".mlp", 18432, &out);
      continue;
    }
    Linear(path + ".mlp.gate", 256, 7168, false, &out);
    out.push_back({path + ".mlp.gate.e_score_correction_bias", "F32", 256, 0});
    Mlp(path + ".mlp.shared_experts", 2048, &out);
    for (int expert = 0; expert < 256; ++expert)
      Mlp(fmt::format("{}.mlp.experts.{}", path, expert), 2048, &out);
  }
  out.push_back({"model.norm.weight", "BF16", 7168, 0});
  Linear("lm_head", 129280, 7168, false, &out);
  return out;
}

void Generate(const TempDir& directory) {
  constexpr size_t kFiles = 91;
  const std::vector<Entry> model = Model();
  std::string map;
  uint64_t total = 0;
  for (size_t file = 0; file < kFiles; ++file) {
    const std::string name = fmt::format("model-{:05}-of-{:06}.safetensors", file + 1, kFiles);
    std::string header = R"({"__metadata__":{"format":"pt"})";
    uint64_t at = 0;
    for (size_t i = model.size() * file / kFiles; i < model.size() * (file + 1) / kFiles; ++i) {
      const Entry& entry = model[i];
      const uint64_t width = entry.dtype == "F32" ? 4 : entry.dtype == "BF16" ? 2 : 1;
      const uint64_t end = at + width * entry.rows * std::max<uint64_t>(1, entry.columns);
      const std::string shape = entry.columns ? fmt::format("{},{}", entry.rows, entry.columns)
                                              : fmt::format("{}", entry.rows);
      header += fmt::format(R"(,"{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                            entry.name, entry.dtype, shape, at, end);
      map += fmt::format("{}\n    \"{}\": \"{}\"", map.empty() ? "" : ",", entry.name, name);
      at = end;
    }
    header += '}';
    header.resize((header.size() + 7) / 8 * 8, ' ');
    directory.Write(name, Safetensors(header, 0));
    if (truncate((directory / name).c_str(), static_cast<off_t>(8 + header.size() + at)) != 0)
      std::perror("truncate"), std::exit(1);
    total += at;
  }
  directory.Write("config.json", R"({"model_type":"deepseek_v3"})");
  directory.Write("model.safetensors.index.json",
                  fmt::format("{{\n  \"metadata\": {{\n    \"total_size\": {}\n  }},\n"
                              "  \"weight_map\": {{{}\n  }}\n}}\n",
                              total, map));
}

double Python(const std::string& directory) {
  const std::string command = fmt::format("python3 '{}/bench/read_headers.py' '{}' 5 2>/dev/null",
                                          FERRULE_TEST_DATA, directory);
  double ms = 0;
  if (FILE* const pipe = popen(command.c_str(), "r")) {
    if (std::fscanf(pipe, "%lf", &ms) != 1) ms = 0;
    pclose(pipe);
  }
  return ms;
}

}  // namespace

int main(int argc, char** argv) {
  const TempDir temporary;
  std::string directory = temporary.path();
  if (argc > 1)
    directory = argv[1];
  else
    Generate(temporary);
  std::vector<double> times;
  size_t tensors = 0, files = 0;
  uint64_t bytes = 0;
  for (int i = 0; i < 15; ++i) {
    Diagnostics diagnostics;
    const auto start = std::chrono::steady_clock::now();
    const auto checkpoint = OpenCheckpoint(directory, &diagnostics);
    const auto stop = std::chrono::steady_clock::now();
    if (!checkpoint) {
      std::fputs(ToHuman(diagnostics, false).c_str(), stderr);
      return 1;
    }
    times.push_back(std::chrono::duration<double, std::milli>(stop - start).count());
    tensors = checkpoint->tensors().size();
    files = checkpoint->files.size();
    bytes = checkpoint->header_bytes;
  }
  std::nth_element(times.begin(), times.begin() + 7, times.end());
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  std::printf("%zu tensors, %zu files, %.1f MB of JSON\n", tensors, files,
              static_cast<double>(bytes) / 1e6);
  std::printf("OpenCheckpoint      %7.1f ms (median of 15)\n", times[7]);
  if (argc == 1) {
    const double python = Python(directory);
    if (python > 0)
      std::printf("python3 json        %7.1f ms\nratio               %7.1f\n", python,
                  python / times[7]);
    else
      std::printf("python3 is not there to compare with\n");
  }
  std::printf("peak memory         %7.1f MB\n", static_cast<double>(usage.ru_maxrss) / 1e3);
  return 0;
}
