// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/rule_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <vector>

namespace ferrule {

namespace fs = std::filesystem;

bool HoldsYaml(const std::string& directory) {
  std::error_code error;
  for (fs::directory_iterator at(directory, error); !error && at != fs::directory_iterator();
       at.increment(error))
    if (at->path().extension() == ".yaml" && !at->is_directory(error)) return true;
  return false;
}

void HelpEmpty(const std::string& directory, const std::string& shown, Finding* finding) {
  std::vector<std::string> yml, below;
  std::error_code error;
  for (fs::directory_iterator at(directory, error); !error && at != fs::directory_iterator();
       at.increment(error)) {
    const std::string name = at->path().filename().string();
    std::error_code unknown;  // a link into nowhere is no directory, and others follow it
    if (at->path().extension() == ".yml") yml.push_back(name);
    if (at->is_directory(unknown) && HoldsYaml(at->path().string())) below.push_back(name);
  }
  std::sort(yml.begin(), yml.end());
  std::sort(below.begin(), below.end());
  if (!yml.empty())
    finding->Fact("found", fmt::format("{} file{} that end{} in `.yml`, e.g. {}", yml.size(),
                                       yml.size() == 1 ? "" : "s", yml.size() == 1 ? "s" : "",
                                       Quoted(yml[0])));
  finding->Help(!yml.empty() ? "rename them: rule files end in `.yaml`"
                : !below.empty()
                    ? fmt::format("did you mean {}?", Quoted((fs::path(shown) / below[0]).string()))
                    : "rule files are the `.yaml` files in the directory itself, "
                      "dialects those in its `dialects/`, runtimes those in its "
                      "`runtimes/`");
}

}  // namespace ferrule
