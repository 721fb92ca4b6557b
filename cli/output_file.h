// SPDX-License-Identifier: Apache-2.0
// Where a command may write: into a directory that is there, and never over what it reads. Asked
// before the work, so that nothing is lost and nobody waits for an answer that has no place.
#pragma once

#include <string>
#include <vector>

#include "engine/checkpoint/checkpoint.h"
#include "engine/text/diagnostics.h"

namespace ferrule::cli {

struct Output {
  std::string option;  // "--output"
  std::string path;
  bool part = false;  // written as `path` + ".part" and renamed
};

struct Read {
  const Checkpoint* checkpoint = nullptr;  // or null; all of its files count: config, index, shards
  std::vector<std::string> files;          // others
};

// False with a finding (exit code 2) when `output` is, also through links, a file in `read`, is a
// directory, or would lie in a directory that does not exist.
bool MayWrite(const Output& output, const Read& read, Diagnostics* out);

// False with a finding (exit code 2) when the directory that `path` would lie in does not exist.
bool FolderExists(const std::string& path, Diagnostics* out);

}  // namespace ferrule::cli
