// SPDX-License-Identifier: Apache-2.0
#include "cli/hub_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "engine/text/file.h"

namespace ferrule::cli {
namespace {

namespace fs = std::filesystem;

std::string Env(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool IsPlainWord(std::string_view text) {
  return !text.empty() && text != "." && text != ".." &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_' || c == '.';
         });
}

std::vector<std::string> NamesIn(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

std::string HubCache() {
  if (std::string cache = Env("HF_HUB_CACHE"); !cache.empty()) return cache;
  if (const std::string home = Env("HF_HOME"); !home.empty()) return home + "/hub";
  const std::string xdg = Env("XDG_CACHE_HOME");
  return (xdg.empty() ? Env("HOME") + "/.cache" : xdg) + "/huggingface/hub";
}

bool IsModelId(const std::string& name) {
  const size_t slash = name.find('/');
  return slash != std::string::npos && IsPlainWord(name.substr(0, slash)) &&
         IsPlainWord(name.substr(slash + 1)) && !PathExists(name);
}

std::string FindSnapshot(const std::string& model_id, const std::string& revision,
                         Diagnostics* out) {
  const size_t slash = model_id.find('/');
  const fs::path model =
      fs::path(HubCache()) /
      fmt::format("models--{}--{}", model_id.substr(0, slash), model_id.substr(slash + 1));
  std::error_code error;
  if (!fs::is_directory(model, error)) {
    out->Add(Code::kNotFound, fmt::format("`{}` is neither a directory nor in the cache", model_id),
             {nullptr, model.string(), 0, 0, 0, ""})
        .Help("name a directory, or set HF_HUB_CACHE to the cache that holds the model");
    return {};
  }
  const std::string wanted = revision.empty() ? "main" : revision;
  std::string commit = wanted;
  const fs::path ref = model / "refs" / wanted;
  if (wanted.find("..") == std::string::npos && fs::is_regular_file(ref, error)) {
    auto text = ReadFile(ref.string(), 4096, Code::kNotFound, out);
    if (!text) return {};
    while (!text->empty() && std::isspace(static_cast<unsigned char>(text->back())))
      text->pop_back();
    commit = *text;
  }
  const fs::path snapshot = model / "snapshots" / commit;
  if (IsPlainWord(commit) && fs::is_directory(snapshot, error)) return snapshot.string();
  const std::vector<std::string> have = NamesIn(model / "snapshots");
  Finding& finding = out->Add(
      Code::kNotFound, fmt::format("the cache has no snapshot `{}` of `{}`", wanted, model_id),
      {nullptr, (model / "snapshots").string(), 0, 0, 0, ""});
  finding.Fact("found",
               have.empty() ? "no snapshot at all" : fmt::format("`{}`", fmt::join(have, "`, `")));
  finding.Help("choose one with --revision");
  return {};
}

}  // namespace ferrule::cli
