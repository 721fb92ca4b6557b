// SPDX-License-Identifier: Apache-2.0
#include "engine/checkpoint/index_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "engine/checkpoint/safetensors.h"
#include "engine/text/json.h"
#include "engine/text/json_scan.h"

namespace ferrule {
namespace {

class IndexReader {
 public:
  IndexReader(const std::string& path, std::string_view text, Diagnostics* diagnostics)
      : path_(path),
        text_size_(text.size()),
        diagnostics_(diagnostics),
        scan_(text, &index_.unescaped) {}

  std::optional<IndexFile> Read() {
    std::vector<std::string_view> keys;
    bool good = scan_.Open('{');
    while (good && scan_.Next('}')) {
      std::string_view key;
      good = scan_.Key(&key);
      if (!good) break;
      if (std::find(keys.begin(), keys.end(), key) != keys.end())
        return Refuse(Code::kJsonDuplicate, Quoted(key) + " stands twice in the index");
      keys.push_back(key);
      if (keys.size() > 64) return Refuse(Code::kJsonLimit, "the index has more than 64 keys");
      good = key == "weight_map" ? WeightMap() : key == "metadata" ? Metadata() : scan_.Skip(62);
    }
    if (refused_) return std::nullopt;
    if (!scan_.failed()) scan_.End();
    if (scan_.failed()) return Broken();
    if (std::find(keys.begin(), keys.end(), "weight_map") == keys.end())
      return Refuse(Code::kJsonType, "the index has no `weight_map`");
    if (index_.names.empty())
      return Refuse(Code::kJsonType, "`weight_map` names no tensor", "/weight_map");
    return std::move(index_);
  }

 private:
  bool WeightMap() {
    pointer_ = "/weight_map";
    if (!scan_.Open('{')) return false;
    // Entries have some 100 bytes; room that is not used costs nothing, growing does.
    const size_t likely = std::min(kMaxIndexNames, text_size_ / 80);
    index_.names.reserve(likely);
    index_.file_of.reserve(likely);
    while (scan_.Next('}')) {
      std::string_view name, file;
      if (!scan_.Key(&name)) return false;
      if (std::string problem = NameProblem(name); !problem.empty()) {
        Refuse(Code::kBadName, std::move(problem), pointer_);
        return false;
      }
      if (!scan_.String(&file)) {
        pointer_ += JsonPointerStep(name);
        return false;
      }
      if (index_.names.size() == kMaxIndexNames) {
        Refuse(Code::kJsonLimit, fmt::format("the index has more than {} names", kMaxIndexNames));
        return false;
      }
      const std::optional<uint32_t> number = FileNumber(name, file);
      if (!number) return false;
      index_.names.push_back(name);
      index_.file_of.push_back(*number);
    }
    pointer_.clear();
    return !scan_.failed();
  }

  // Most entries name the file of the one before.
  std::optional<uint32_t> FileNumber(std::string_view tensor, std::string_view file) {
    if (!index_.files.empty() && index_.files[last_file_] == file) return last_file_;
    const auto [at, fresh] =
        numbers_.emplace(std::string(file), static_cast<uint32_t>(index_.files.size()));
    last_file_ = at->second;
    if (!fresh) return last_file_;
    if (const std::string problem = FileNameProblem(file); !problem.empty()) {
      Refuse(Code::kBadFileName,
             fmt::format("{} is said to be in {}: {}", Quoted(tensor), Quoted(file), problem),
             "/weight_map" + JsonPointerStep(tensor));
      finding_->Help("the file must lie beside the index and be named without directories");
      return std::nullopt;
    }
    if (index_.files.size() == kMaxIndexFiles) {
      Refuse(Code::kJsonLimit, fmt::format("the index names more than {} files", kMaxIndexFiles));
      return std::nullopt;
    }
    index_.files.emplace_back(file);
    return last_file_;
  }

  bool Metadata() {
    pointer_ = "/metadata";
    std::vector<std::string_view> keys;
    if (!scan_.Open('{')) return false;
    while (scan_.Next('}')) {
      if (!scan_.Key(&keys.emplace_back())) return false;
      if (!(keys.back() == "total_size" ? TotalSize() : scan_.Skip(62))) return false;
    }
    if (scan_.failed()) return false;
    std::sort(keys.begin(), keys.end());
    const auto twice = std::adjacent_find(keys.begin(), keys.end());
    pointer_.clear();
    if (twice == keys.end()) return true;
    Refuse(Code::kJsonDuplicate, Quoted(*twice) + " stands twice in `metadata`", "/metadata");
    return false;
  }

  bool TotalSize() {
    uint64_t size = 0;
    JsonScan ahead = scan_;
    if (!ahead.Unsigned(&size)) return scan_.Skip(62);  // checked as far as it is JSON
    scan_ = ahead;
    index_.total_size = size;
    return true;
  }

  std::nullopt_t Broken() {
    const std::string where = fmt::format("{} (byte {})", scan_.problem(), scan_.at());
    switch (scan_.mistake()) {
      case JsonScan::Mistake::kType:
        return Refuse(Code::kJsonType, where, pointer_);
      case JsonScan::Mistake::kDuplicate:
        return Refuse(Code::kJsonDuplicate, where, pointer_);
      case JsonScan::Mistake::kDepth:
        return Refuse(Code::kJsonLimit, where, pointer_);
      default:
        return Refuse(Code::kJsonSyntax, "the index is not JSON: " + where);
    }
  }

  std::nullopt_t Refuse(Code code, std::string message, std::string pointer = {}) {
    finding_ =
        &diagnostics_->Add(code, std::move(message), {nullptr, path_, 0, 0, 0, std::move(pointer)});
    refused_ = true;
    return std::nullopt;
  }

  const std::string& path_;
  size_t text_size_;
  Diagnostics* diagnostics_;
  IndexFile index_;
  JsonScan scan_;  // unescapes into index_
  std::unordered_map<std::string, uint32_t> numbers_;
  uint32_t last_file_ = 0;
  std::string pointer_;
  bool refused_ = false;
  Finding* finding_ = nullptr;
};

}  // namespace

std::string FileNameProblem(std::string_view name) {
  if (name.empty()) return "a file name cannot be empty";
  if (name == "." || name == "..") return "this is a directory";
  if (name.find('\0') != std::string_view::npos) return "a file name cannot hold a NUL";
  if (name.find_first_of("/\\") != std::string_view::npos)
    return "this leads out of the directory of the checkpoint";
  if (name.front() == '~') return "`~` may be read as a home directory";
  if (name.size() > 255)
    return fmt::format("the name has {} bytes; at most 255 are read", name.size());
  return {};
}

std::optional<IndexFile> ParseIndex(const std::string& path, std::string_view text,
                                    Diagnostics* diagnostics) {
  if (text.size() > kMaxIndexBytes) {
    diagnostics->Add(
        Code::kJsonLimit,
        fmt::format("the index has {} bytes; at most {} are read", text.size(), kMaxIndexBytes),
        {nullptr, path, 0, 0, 0, ""});
    return std::nullopt;
  }
  return IndexReader(path, text, diagnostics).Read();
}

}  // namespace ferrule
