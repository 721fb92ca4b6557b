// SPDX-License-Identifier: Apache-2.0
// model.safetensors.index.json: which file holds which tensor.
//
//   {"metadata": {"total_size": 4482232}, "weight_map": {"lm_head.weight":
//   "model-00001-of-00002.safetensors", …}}
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/arena.h"
#include "engine/text/diagnostics.h"

namespace ferrule {

inline constexpr uint64_t kMaxIndexBytes = uint64_t{64} << 20;
inline constexpr size_t kMaxIndexNames = 2'000'000;
inline constexpr size_t kMaxIndexFiles = 4'096;

struct IndexFile {
  std::vector<std::string> files;       // in the order of their first mention
  LargeVector<std::string_view> names;  // of tensors; in the text or in `unescaped`
  std::vector<uint32_t> file_of;        // names[i] is in files[file_of[i]]
  std::optional<uint64_t> total_size;   // of metadata, when it is a whole number
  Arena unescaped;
};

// Refuses what is no index and file names that are not plain names of the same directory. Whether a
// name stands twice is seen when the names are looked up in the headers. The result refers to
// `text`.
std::optional<IndexFile> ParseIndex(const std::string& path, std::string_view text,
                                    Diagnostics* diagnostics);

// Why an index must not name this file; empty when it may.
std::string FileNameProblem(std::string_view name);

}  // namespace ferrule
