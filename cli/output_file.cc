// SPDX-License-Identifier: Apache-2.0
#include "cli/output_file.h"

#include <fmt/format.h>

#include <filesystem>
#include <system_error>

namespace ferrule::cli {
namespace {

namespace fs = std::filesystem;

// Everything that opening a checkpoint may have read.
std::vector<std::string> FilesOf(const Checkpoint& checkpoint) {
  std::vector<std::string> names = ConfigFiles();
  names.emplace_back("model.safetensors.index.json");
  names.insert(names.end(), checkpoint.files.begin(), checkpoint.files.end());
  for (std::string& name : names) name = (fs::path(checkpoint.directory) / name).string();
  return names;
}

}  // namespace

bool FolderExists(const std::string& path, Diagnostics* out) {
  const fs::path folder = fs::path(path).parent_path();
  std::error_code error;
  const fs::file_type type = fs::status(folder, error).type();
  // What cannot be looked at is left to the writing, which says why.
  if (folder.empty() || type == fs::file_type::directory || type == fs::file_type::none ||
      type == fs::file_type::unknown)
    return true;
  out->Add(Code::kNotFound,
           fmt::format("the directory of {} does not exist",
                       Quoted(fs::path(path).filename().string())),
           {nullptr, path, 0, 0, 0, ""})
      .Help("make it, or name a file elsewhere");
  return false;
}

bool MayWrite(const Output& output, const Read& read, Diagnostics* out) {
  const Location at{nullptr, output.path, 0, 0, 0, ""};
  std::vector<std::string> written = {output.path};
  if (output.part) written.push_back(output.path + ".part");
  const auto is_written = [&](const std::string& file, const char* what) {
    for (const std::string& path : written) {
      std::error_code error;
      if (!fs::equivalent(path, file, error)) continue;
      out->Add(Code::kUsage,
               fmt::format("`{}` would write over {}, {}", output.option, Quoted(file), what), at)
          .Fact("effect", "what is there would be lost: nothing is written")
          .Help("name another file");
      return true;
    }
    return false;
  };
  if (read.checkpoint != nullptr)
    for (const std::string& file : FilesOf(*read.checkpoint))
      if (is_written(file, "a file of the checkpoint")) return false;
  for (const std::string& file : read.files)
    if (is_written(file, "which this command reads")) return false;
  std::error_code error;
  if (fs::is_directory(output.path, error)) {
    out->Add(Code::kNotFound, fmt::format("{} is there and is not a file", Quoted(output.path)), at)
        .Help("name a file in it");
    return false;
  }
  return FolderExists(output.path, out);
}

}  // namespace ferrule::cli
