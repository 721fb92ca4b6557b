// SPDX-License-Identifier: Apache-2.0
// A header fixture → a checkpoint directory as a release looks on disk: config.json, an index and
// safetensors files with whole headers and no data. The files are sparse, so that 700 GB of tensors
// take the room of their headers.
#pragma once

#include <string>

namespace ferrule::bench {

// The tensors of `fixture`, in the order of layers, over `files` files; within a file in the order
// in which the library safetensors writes: widest dtype first, then by name. The index is sorted by
// name. Empty, or what went wrong.
std::string WriteShards(const std::string& fixture, const std::string& directory, size_t files);

// The fixture of DeepSeek-V3 with another number of experts: the same model, larger or smaller.
std::string WriteExperts(const std::string& fixture, const std::string& directory, int experts);

}  // namespace ferrule::bench
