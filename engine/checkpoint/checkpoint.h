// SPDX-License-Identifier: Apache-2.0
// A checkpoint as it lies on disk: its config files and what its safetensors headers say.
//
//   const std::optional<Checkpoint> checkpoint = OpenCheckpoint(dir, &diagnostics);
//   if (!checkpoint) …                                      // findings say why
//   checkpoint->config.Find("model_type").Text();
//   for (const Tensor& tensor : checkpoint->tensors()) checkpoint->shape(tensor);
//
// A directory is one of:
//   - config.json, model.safetensors.index.json and the files it names: exactly these are the
//     checkpoint, other safetensors files beside them are ignored;
//   - config.json and model.safetensors;
//   - a header fixture: config.json and tensors.json (tests/fixtures/README.md): names, dtypes and
//     shapes without weights;
//   - config.json alone: nothing about tensors is known.
// hf_quant_config.json, quant_model_description.json and quantization_config.json may stand beside
// config.json in all of them. Only headers are read. A checkpoint is immutable and may be read from
// many threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/checkpoint/path_table.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/text/diagnostics.h"
#include "engine/text/file.h"
#include "engine/text/json.h"

namespace ferrule {

struct Checkpoint {
  std::string directory;
  JsonValue config;                   // config.json
  JsonValue hf_quant_config;          // hf_quant_config.json; missing when there is none
  JsonValue quant_model_description;  // quant_model_description.json, which modelslim writes
  // quantization_config.json if there is one, else the key of that name in config.json; missing
  // when neither says anything (a null says nothing). That both differ is an error, FR604.
  JsonValue quantization_config;
  bool has_headers = false;        // tensors are known
  bool has_weights = false;        // and can be read
  std::vector<std::string> files;  // names in `directory`, in the order of the index
  uint64_t header_bytes = 0;       // read from headers and index
  TensorTable table;

  std::span<const Tensor> tensors() const { return table.tensors; }
  std::span<const int64_t> shape(const Tensor& tensor) const { return table.shape(tensor); }
  // Null when there is no such tensor.
  const Tensor* Find(std::string_view name) const;
  // "model-00001-of-00002.safetensors"; tensors.json in a fixture.
  const std::string& FileOf(const Tensor& tensor) const { return files[tensor.file]; }
  // Where a tensor stands, for findings: the file and the pointer of its header entry.
  Location LocationOf(const Tensor& tensor) const;

  // Reads `size` bytes of a tensor from its byte `offset` on. Thread-safe (each thread with its own
  // diagnostics). Opens the file anew and refuses one that is not the file whose header was read.
  bool ReadBytes(const Tensor& tensor, uint64_t offset, size_t size, void* buffer,
                 Diagnostics* diagnostics) const;

  PathTable names;                       // of table.tensors, by index
  std::vector<FileIdentity> identities;  // of files
  LargeVector<char> index_text;          // names of tensors are views into it
  Arena index_unescaped;                 // and into this
};

// The files beside the tensors that OpenCheckpoint reads where they are: config.json first.
const std::vector<std::string>& ConfigFiles();

// All mistakes of all files are reported; nothing is returned when there was an error.
std::optional<Checkpoint> OpenCheckpoint(const std::string& directory, Diagnostics* diagnostics);

}  // namespace ferrule
