// SPDX-License-Identifier: Apache-2.0
// Input: the text of an index. What is accepted must be JSON that says the same, and headers that
// hold what it says must agree with it.
#include <cstdint>
#include <cstdlib>
#include <set>

#include "engine/checkpoint/index_file.h"
#include "engine/checkpoint/index_names.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/text/json.h"
#include "engine/text/json_writer.h"

using namespace ferrule;

namespace {

// Headers as the index wants them; false when the index names a tensor twice.
bool HeadersAgree(const IndexFile& index, std::string_view text) {
  IndexNames names(index, text);
  TensorTable table;
  Diagnostics diagnostics;
  for (uint32_t file = 0; file < index.files.size(); ++file) {
    JsonWriter header;
    header.BeginObject();
    for (size_t i = 0; i < index.names.size(); ++i) {
      if (index.file_of[i] != file) continue;
      header.Key(index.names[i]).BeginObject();
      header.Key("dtype").Text("U8").Key("shape").Ints({0}).Key("data_offsets").Ints({0, 0});
      header.EndObject();
    }
    header.EndObject();
    if (!ParseHeader("h", header.str(), 8, 0, file, &names, &table, &diagnostics)) abort();
  }
  if (!names.Agrees()) return false;
  const PathTable found = names.Release();
  for (const std::string_view name : index.names) {
    const int32_t at = found.At(name);
    if (at < 0 || table.tensors[static_cast<size_t>(at)].name != name) abort();
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Diagnostics diagnostics;
  const auto index = ParseIndex("i", text, &diagnostics);
  if (index.has_value() == diagnostics.has_errors()) abort();
  ToHuman(diagnostics, false);
  if (!index) return 0;
  // The index leaves duplicates to the look-up; numbers out of range it passes over.
  const std::set<std::string_view> unique(index->names.begin(), index->names.end());
  Diagnostics slow;
  const auto top = ParseJson("i", text, {kMaxIndexBytes, 1000}, &slow);
  if (!top) {
    const Code code = slow.findings()[0].code;
    const bool number = slow.findings()[0].message.find("too large") != std::string::npos;
    if (number || (code == Code::kJsonDuplicate && unique.size() < index->names.size())) return 0;
    abort();
  }
  const JsonValue map = top->Find("weight_map");
  if (map.size() != index->names.size()) abort();
  for (size_t i = 0; i < map.size(); ++i) {
    if (map[i].name() != index->names[i]) abort();
    const std::string& file = index->files.at(index->file_of[i]);
    if (map[i].AsString() != file || !FileNameProblem(file).empty()) abort();
  }
  if (index->total_size && top->Find("metadata").Find("total_size").AsUint() != index->total_size)
    abort();
  const bool twice = unique.size() < index->names.size();
  if (!unique.contains("__metadata__") && HeadersAgree(*index, text) == twice) abort();
  return 0;
}
