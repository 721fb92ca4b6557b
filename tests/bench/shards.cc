// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/shards.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <tuple>

#include "engine/checkpoint/checkpoint.h"
#include "tests/engine/temp_dir.h"

namespace ferrule::bench {
namespace {

std::string Read(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

bool Write(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  return file.flush().good();
}

void Replace(std::string* text, const std::string& from, const std::string& to) {
  for (size_t at = 0; (at = text->find(from, at)) != std::string::npos; at += to.size())
    text->replace(at, from.size(), to);
}

// What stands before the first layers comes first, what has no number last.
int LayerOf(std::string_view name) {
  const size_t at = name.find(".layers.");
  if (at == std::string_view::npos) return name.find("embed") != std::string_view::npos ? -1 : 1000;
  int layer = 0;
  for (const char c : name.substr(at + 8)) {
    if (c < '0' || c > '9') break;
    layer = layer * 10 + (c - '0');
  }
  return layer;
}

}  // namespace

std::string WriteShards(const std::string& fixture, const std::string& directory, size_t files) {
  Diagnostics findings;
  const auto checkpoint = OpenCheckpoint(fixture, &findings);
  if (!checkpoint || !checkpoint->has_headers) return ToHuman(findings, false);
  std::vector<const Tensor*> order;
  for (const Tensor& tensor : checkpoint->tensors()) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const Tensor* a, const Tensor* b) {
    return std::tuple(LayerOf(a->name), a->name) < std::tuple(LayerOf(b->name), b->name);
  });
  std::vector<std::pair<std::string_view, size_t>> map;
  const auto name_of = [&](size_t file) {
    return fmt::format("model-{:05}-of-{:06}.safetensors", file + 1, files);
  };
  uint64_t total = 0;
  for (size_t file = 0; file < files; ++file) {
    const auto begin = order.begin() + static_cast<ptrdiff_t>(order.size() * file / files);
    const auto end = order.begin() + static_cast<ptrdiff_t>(order.size() * (file + 1) / files);
    std::sort(begin, end, [](const Tensor* a, const Tensor* b) {
      return std::tuple(DTypeBits(b->dtype), a->name) < std::tuple(DTypeBits(a->dtype), b->name);
    });
    std::string header = R"({"__metadata__":{"format":"pt"})";
    uint64_t at = 0;
    for (auto tensor = begin; tensor != end; ++tensor) {
      const uint64_t stop = at + checkpoint->table.Bytes(**tensor);
      std::string shape = ShapeText(checkpoint->shape(**tensor));
      Replace(&shape, ", ", ",");
      header += fmt::format(R"(,"{}":{{"dtype":"{}","shape":{},"data_offsets":[{},{}]}})",
                            (*tensor)->name, DTypeName((*tensor)->dtype), shape, at, stop);
      map.emplace_back((*tensor)->name, file);
      at = stop;
    }
    header += '}';
    header.resize((header.size() + 7) / 8 * 8, ' ');
    const std::string path = directory + "/" + name_of(file);
    if (!Write(path, Safetensors(header, 0)) ||
        truncate(path.c_str(), static_cast<off_t>(8 + header.size() + at)) != 0)
      return "cannot write " + path;
    total += at;
  }
  std::sort(map.begin(), map.end());
  std::string index = fmt::format("{{\n  \"metadata\": {{\n    \"total_size\": {}\n  }},\n", total);
  index += "  \"weight_map\": {";
  for (const auto& [name, file] : map)
    index +=
        fmt::format("{}\n    \"{}\": \"{}\"", name == map[0].first ? "" : ",", name, name_of(file));
  index += "\n  }\n}\n";
  const bool good = Write(directory + "/model.safetensors.index.json", index) &&
                    Write(directory + "/config.json", Read(fixture + "/config.json"));
  return good ? "" : "cannot write to " + directory;
}

std::string WriteExperts(const std::string& fixture, const std::string& directory, int experts) {
  std::string config = Read(fixture + "/config.json"), tensors = Read(fixture + "/tensors.json");
  Replace(&config, "\"n_routed_experts\": 256", fmt::format("\"n_routed_experts\": {}", experts));
  Replace(&tensors, "\"E\":256", fmt::format("\"E\":{}", experts));
  for (const char* shape : {"gate.weight\",\"shape\":[256", "correction_bias\",\"shape\":[256"})
    Replace(&tensors, shape, std::string(shape, std::strlen(shape) - 3) + std::to_string(experts));
  for (const char* total : {"tensors", "elements", "bytes"})
    Replace(&tensors, fmt::format("\"total_{}\"", total), fmt::format("\"was_{}\"", total));
  const bool good =
      Write(directory + "/config.json", config) && Write(directory + "/tensors.json", tensors);
  return good ? "" : "cannot write to " + directory;
}

}  // namespace ferrule::bench
