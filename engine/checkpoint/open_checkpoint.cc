// SPDX-License-Identifier: Apache-2.0
// directory → Checkpoint: which kind it is, its config files, its headers, and whether the index
// says what the headers say.
#include "engine/checkpoint/checkpoint.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "engine/checkpoint/fixture.h"
#include "engine/checkpoint/index_file.h"
#include "engine/checkpoint/index_names.h"

namespace ferrule {
namespace {

constexpr char kConfig[] = "config.json";
constexpr char kHfQuantConfig[] = "hf_quant_config.json";
constexpr char kQuantModelDescription[] = "quant_model_description.json";
constexpr char kQuantizationConfig[] = "quantization_config.json";
constexpr char kIndex[] = "model.safetensors.index.json";
constexpr char kSingle[] = "model.safetensors";
constexpr char kFixture[] = "tensors.json";

class CheckpointReader {
 public:
  CheckpointReader(const std::string& directory, Diagnostics* diagnostics)
      : diagnostics_(diagnostics) {
    out_.directory = directory;
  }

  std::optional<Checkpoint> Read() {
    if (!IsDirectory()) return std::nullopt;
    const size_t before = diagnostics_->count(Level::kError);
    Configs();
    const bool index = Exists(kIndex), single = Exists(kSingle), fixture = Exists(kFixture);
    if (fixture && (index || single))
      Add(Code::kBadFixture, "the directory holds both weights and a header fixture", kFixture)
          .Fact("found", fmt::format("`{}` and `{}`", index ? kIndex : kSingle, kFixture))
          .Help("keep one of them; which one is meant cannot be told");
    else if (index)
      Index();
    else if (single)
      Single();
    else if (fixture)
      Fixture();
    else
      NoStrayShards();
    if (diagnostics_->count(Level::kError) > before) return std::nullopt;
    return std::move(out_);
  }

 private:
  std::string PathOf(std::string_view file) const {
    const bool slash = !out_.directory.empty() && out_.directory.back() == '/';
    return fmt::format("{}{}{}", out_.directory, slash ? "" : "/", file);
  }
  bool Exists(const char* file) const { return PathExists(PathOf(file)); }
  Finding& Add(Code code, std::string message, std::string_view file, std::string pointer = {}) {
    return diagnostics_->Add(code, std::move(message),
                             {nullptr, PathOf(file), 0, 0, 0, std::move(pointer)});
  }

  bool IsDirectory() {
    struct stat info {};
    const Location at{nullptr, out_.directory, 0, 0, 0, ""};
    if (stat(out_.directory.c_str(), &info) != 0) {
      if (errno == ENOENT || errno == ENOTDIR)
        diagnostics_->Add(Code::kNotFound, Quoted(out_.directory) + " does not exist", at);
      else
        diagnostics_->Add(
            Code::kIo,
            fmt::format("cannot open {}: {}", Quoted(out_.directory), std::strerror(errno)), at);
      return false;
    }
    // Without search permission every file in it would seem to be absent.
    if (S_ISDIR(info.st_mode) &&
        faccessat(AT_FDCWD, out_.directory.c_str(), X_OK, AT_EACCESS) != 0) {
      diagnostics_->Add(
          Code::kIo,
          fmt::format("cannot search {}: {}", Quoted(out_.directory), std::strerror(errno)), at);
      return false;
    }
    if (S_ISDIR(info.st_mode)) return true;
    diagnostics_->Add(Code::kNotFound, Quoted(out_.directory) + " is a file, not a directory", at)
        .Help("name the directory that holds `config.json`");
    return false;
  }

  // Missing when there is no such file or it is wrong.
  JsonValue Json(const char* file, size_t bytes = JsonLimits().bytes) {
    if (!Exists(file)) return {};
    JsonLimits limits;
    limits.infinity_is_null = std::string_view(file) == "config.json";
    limits.bytes = bytes;
    const std::string path = PathOf(file);
    const auto text = ReadFile(path, limits.bytes, Code::kMissingFile, diagnostics_);
    if (!text) return {};
    const auto value = ParseJson(path, *text, limits, diagnostics_);
    if (!value) return {};
    if (value->is_object()) return *value;
    diagnostics_->Add(Code::kJsonType,
                      fmt::format("expected an object, found {}", JsonKindName(value->kind())),
                      value->location());
    return {};
  }

  void Configs() {
    if (!Exists(kConfig))
      Add(Code::kNoConfig, Quoted(out_.directory) + " has no `config.json`", kConfig)
          .Help("name the directory of a checkpoint; its `config.json` says which model it is");
    out_.config = Json(kConfig);
    out_.hf_quant_config = Json(kHfQuantConfig);
    out_.quant_model_description = Json(kQuantModelDescription, kMaxIndexBytes);
    const JsonValue own = out_.config.Find("quantization_config");
    out_.quantization_config = Json(kQuantizationConfig);
    if (!own || own.is_null()) return;
    if (!out_.quantization_config) {
      out_.quantization_config = own;
    } else if (!(own == out_.quantization_config)) {
      diagnostics_
          ->Add(Code::kListsDisagree,
                "`quantization_config.json` and the `quantization_config` of config.json differ",
                FirstDifference(own, out_.quantization_config).location())
          .Mark(out_.quantization_config.location(), "the other one")
          .Help("remove one of them; readers differ on which one counts");
    }
  }

  // The smallest value of `a` that `b` does not have.
  static JsonValue FirstDifference(const JsonValue& a, const JsonValue& b) {
    if (a.kind() != b.kind()) return a;
    for (const JsonValue child : a) {
      const JsonValue other = a.is_object() ? b.Find(child.name()) : b[child.index()];
      if (!other) return child;
      if (!(child == other)) return FirstDifference(child, other);
    }
    return a;
  }

  void Single() {
    out_.files = {kSingle};
    if (Headers(nullptr)) Duplicates();
  }

  void Index() {
    const std::string path = PathOf(kIndex);
    auto text = ReadLargeFile(path, kMaxIndexBytes, Code::kMissingFile, diagnostics_);
    if (!text) return;
    out_.index_text = std::move(*text);
    const std::string_view view(out_.index_text.data(), out_.index_text.size());
    auto index = ParseIndex(path, view, diagnostics_);
    if (!index) return;
    out_.files = std::move(index->files);
    out_.header_bytes += view.size();
    out_.table.tensors.reserve(index->names.size());
    out_.table.dims.reserve(2 * index->names.size());
    IndexNames names(*index, view);
    if (!Headers(&names)) return;
    if (names.Agrees())
      out_.names = names.Release();
    else if (Duplicates())
      Compare(*index);
    out_.index_unescaped = std::move(index->unescaped);
    if (names.Agrees()) TotalSize(*index);
  }

  void Fixture() {
    const JsonValue fixture = Json(kFixture);
    if (!fixture || !ExpandFixture(fixture, &out_.table, diagnostics_)) return;
    out_.files = {kFixture};
    out_.has_headers = Duplicates();
  }

  // Reads the headers of all files; false after a mistake.
  bool Headers(IndexNames* names) {
    std::string buffer;
    std::vector<Finding> missing;
    bool good = true;
    out_.identities.resize(out_.files.size());
    for (size_t i = 0; i < out_.files.size(); ++i) {
      const std::string path = PathOf(out_.files[i]);
      Diagnostics found;
      const auto file = OpenForReading(path, Code::kMissingFile, &found);
      if (file) {
        out_.identities[i] = file->identity;
        good &= ReadHeader(path, *file, static_cast<uint32_t>(i), names, &buffer, &out_.table,
                           &out_.header_bytes, diagnostics_);
      } else if (found.findings()[0].code == Code::kMissingFile) {
        missing.push_back(found.findings()[0]);
      } else {
        good = false;
        diagnostics_->Append(found);
      }
    }
    if (!missing.empty()) {
      Finding& finding = diagnostics_->Add(std::move(missing[0]));
      if (missing.size() > 1)
        finding.Fact("found", fmt::format("{} of {} files of the index are missing", missing.size(),
                                          out_.files.size()));
      finding.Help("complete the download, or fetch it again");
    }
    out_.has_headers = out_.has_weights = good && missing.empty();
    return out_.has_headers;
  }

  // Builds the table of names; false when a name stands twice.
  bool Duplicates() {
    out_.names = TableOfNames(out_.tensors());
    auto twice = out_.names.Seal();
    if (twice.empty()) return true;
    std::sort(twice.begin(), twice.end(),
              [](const auto& a, const auto& b) { return a.second < b.second; });
    const Tensor& first = out_.table.tensors[static_cast<size_t>(twice[0].first)];
    const Tensor& second = out_.table.tensors[static_cast<size_t>(twice[0].second)];
    const bool same_file = first.file == second.file;
    Finding& finding = Add(same_file ? Code::kJsonDuplicate : Code::kIndexMismatch,
                           fmt::format("{} {}", Quoted(second.name),
                                       same_file ? "stands twice in one file" : "is in two files"),
                           out_.FileOf(second), out_.LocationOf(second).pointer);
    if (!same_file) finding.Mark(out_.LocationOf(first), "also here");
    if (twice.size() > 1)
      finding.Fact("found", fmt::format("{} names that stand twice", twice.size()));
    return false;
  }

  struct Mismatch {
    size_t count = 0, first = 0;
    void Count(size_t i) {
      if (count++ == 0) first = i;
    }
  };

  // What is wrong where the index and the headers do not agree.
  void Compare(const IndexFile& index) {
    std::vector<bool> seen(out_.table.tensors.size());
    Mismatch absent, elsewhere, twice, unlisted;
    for (size_t i = 0; i < index.names.size(); ++i) {
      const Tensor* const tensor = out_.Find(index.names[i]);
      if (tensor == nullptr) {
        absent.Count(i);
        continue;
      }
      const size_t at = static_cast<size_t>(tensor - out_.table.tensors.data());
      if (seen[at])
        twice.Count(i);
      else if (tensor->file != index.file_of[i])
        elsewhere.Count(i);
      seen[at] = true;
    }
    for (size_t i = 0; i < seen.size(); ++i)
      if (!seen[i]) unlisted.Count(i);
    const auto entry = [&](Code code, const Mismatch& what, auto describe) {
      if (what.count == 0) return;
      const std::string_view name = index.names[what.first];
      Finding& finding = Add(code, describe(name, out_.files[index.file_of[what.first]]), kIndex,
                             "/weight_map" + JsonPointerStep(name));
      if (what.count > 1) finding.Fact("found", fmt::format("{} such tensors", what.count));
    };
    entry(Code::kJsonDuplicate, twice,
          [](auto name, const auto&) { return Quoted(name) + " stands twice in the index"; });
    entry(Code::kIndexMismatch, absent, [](auto name, const auto& file) {
      return fmt::format("{} should be in {}, whose header does not have it", Quoted(name),
                         Quoted(file));
    });
    entry(Code::kIndexMismatch, elsewhere, [&](auto name, const auto& file) {
      return fmt::format("{} should be in {}, but is in {}", Quoted(name), Quoted(file),
                         Quoted(out_.FileOf(*out_.Find(name))));
    });
    if (unlisted.count > 0) {
      const Tensor& tensor = out_.table.tensors[unlisted.first];
      Finding& finding = Add(Code::kIndexMismatch,
                             fmt::format("{} is in {}, but not in the index", Quoted(tensor.name),
                                         Quoted(out_.FileOf(tensor))),
                             out_.FileOf(tensor), JsonPointerStep(tensor.name));
      if (unlisted.count > 1) finding.Fact("found", fmt::format("{} such tensors", unlisted.count));
    }
  }

  void TotalSize(const IndexFile& index) {
    uint64_t bytes = 0;
    for (const Tensor& tensor : out_.table.tensors) bytes += tensor.end - tensor.begin;
    if (!index.total_size || *index.total_size == bytes) return;
    Add(Code::kTotalSize,
        fmt::format("`total_size` is {}, but the tensors have {} bytes", *index.total_size, bytes),
        kIndex, "/metadata/total_size");
  }

  // A directory with shards and no index is an incomplete download, not a checkpoint without
  // weights.
  void NoStrayShards() {
    DIR* const directory = opendir(out_.directory.c_str());
    if (directory == nullptr) {
      Add(Code::kIo,
          fmt::format("cannot list {}: {}", Quoted(out_.directory), std::strerror(errno)), "");
      return;
    }
    size_t count = 0;
    std::string example;
    while (const dirent* const entry = readdir(directory)) {
      const std::string_view name = entry->d_name;
      if (!name.starts_with("model-") || !name.ends_with(".safetensors") ||
          name.find("-of-") == std::string_view::npos)
        continue;
      if (count++ == 0 || name < example) example = name;
    }
    closedir(directory);
    if (count == 0) return;
    Add(Code::kMissingFile,
        fmt::format("`{}` is missing, but {} is there", kIndex, Quoted(example)), kIndex)
        .Help(
            "complete the download; without the index it cannot be told which files belong "
            "together");
  }

  Checkpoint out_;
  Diagnostics* diagnostics_;
};

}  // namespace

const std::vector<std::string>& ConfigFiles() {
  static const std::vector<std::string> names = {kConfig, kHfQuantConfig, kQuantizationConfig};
  return names;
}

std::optional<Checkpoint> OpenCheckpoint(const std::string& directory, Diagnostics* diagnostics) {
  return CheckpointReader(directory, diagnostics).Read();
}

}  // namespace ferrule
