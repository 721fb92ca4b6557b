// SPDX-License-Identifier: Apache-2.0
// Files written by a test, and findings as one text that a test can name.
#pragma once

#include <stdlib.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "engine/text/diagnostics.h"
#include "engine/text/remedy.h"

namespace ferrule {

// A directory that is removed, with all that is in it, at the end of the test.
class TempDir {
 public:
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "ferrule-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }
  const TempDir& Write(std::string_view name, std::string_view text) const {
    std::ofstream file(*this / name, std::ios::binary);
    file.write(text.data(), static_cast<std::streamsize>(text.size()));
    return *this;
  }

 private:
  std::string path_;
};

// A safetensors file: length, header, `data` bytes of zero.
inline std::string Safetensors(std::string_view header, size_t data) {
  const uint64_t length = header.size();
  std::string file(8, '\0');
  for (int i = 0; i < 8; ++i) file[static_cast<size_t>(i)] = static_cast<char>(length >> 8 * i);
  return file.append(header).append(data, '\0');
}

// One line for each finding, with its facts, other places and help, unless that is the remedy of
// its code; `directory` is shown as D.
inline std::string Lines(const Diagnostics& diagnostics, std::string_view directory) {
  std::string out;
  for (const Finding& finding : diagnostics.findings()) {
    if (!out.empty()) out += '\n';
    out += ToShort(finding);
    out.pop_back();
    for (const Label& label : finding.labels)
      out += " | " + label.at.ToString() + ": " + label.text;
    for (const auto& [key, text] : finding.facts) out += " | " + key + ": " + text;
    if (finding.help != RemedyOf(finding.code)) out += " | help: " + finding.help;
  }
  if (directory.empty()) return out;
  for (size_t at = 0; (at = out.find(directory, at)) != std::string::npos; ++at)
    out.replace(at, directory.size(), "D");
  return out;
}

}  // namespace ferrule
