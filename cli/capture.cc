// SPDX-License-Identifier: Apache-2.0
// ferrule capture DIR|org/model OUT: a header fixture of a checkpoint, so that CI needs no weights.
#include "engine/checkpoint/capture.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>

#include "cli/command.h"
#include "cli/hub_cache.h"
#include "cli/output_file.h"
#include "engine/text/file.h"
#include "engine/text/json.h"

namespace ferrule::cli {
namespace {

namespace fs = std::filesystem;

// Whether `inside` is `folder` or lies in it, links followed.
bool Holds(const fs::path& folder, const fs::path& inside) {
  std::error_code error;
  fs::path at = fs::canonical(inside, error);
  for (; !error && at.has_relative_path(); at = at.parent_path())
    if (fs::equivalent(at, folder, error)) return true;
  return false;
}

class Capturer {
 public:
  explicit Capturer(const CaptureOptions& options) : options_(options) {}

  // The line that says what was written; empty after an error.
  std::string Run(Diagnostics* out) {
    out_ = out;
    std::string source = options_.checkpoint, model = options_.model;
    if (IsModelId(source)) {
      if (model.empty()) model = source;
      source = FindSnapshot(source, options_.revision, out);
      if (source.empty()) return {};
    } else if (!options_.revision.empty()) {
      out->Add(Code::kUsage, "`--revision` goes with a model of the cache, not with a directory")
          .Help("name the model as ORG/NAME, or leave `--revision` out");
      return {};
    }
    const auto checkpoint = ReadCheckpoint(source, out);
    if (!checkpoint || !CanBeCaptured(*checkpoint)) return {};
    const CapturedListing capture = CaptureListing(*checkpoint, {model, options_.note});
    if (!WriteAll(source, capture.json) || !ReadsBack(*checkpoint)) return {};
    std::error_code error;
    fs::rename(part_, options_.out, error);
    if (error) return Fail(options_.out, error.message()), "";
    part_.clear();
    return fmt::format("captured {} tensors in {} entries, {} KB: {}\n",
                       checkpoint->tensors().size(), capture.entries,
                       (capture.json.size() + 1023) / 1024, options_.out);
  }

  ~Capturer() {
    std::error_code error;
    if (!part_.empty()) fs::remove_all(part_, error);
  }

 private:
  bool CanBeCaptured(const Checkpoint& checkpoint) {
    if (!checkpoint.has_headers) {
      out_->Add(Code::kMissingFile,
                fmt::format("`{}` has no headers to capture", checkpoint.directory),
                {nullptr, checkpoint.directory, 0, 0, 0, ""})
          .Help(
              "name a checkpoint with safetensors files; config.json alone is already as small as "
              "it gets");
      return false;
    }
    for (const Tensor& tensor : checkpoint.tensors()) {
      if (tensor.name.find_first_of("{}") == std::string_view::npos) continue;
      out_->Add(
          Code::kBadFixture,
          fmt::format("{} has a brace, which a name template cannot hold", Quoted(tensor.name)),
          checkpoint.LocationOf(tensor));
      return false;
    }
    return true;
  }

  // All files into a folder beside the wanted one, so that there is a whole fixture or none.
  bool WriteAll(const std::string& source, const std::string& listing) {
    std::error_code error;
    if (PathExists(options_.out)) {
      out_->Add(Code::kUsage, fmt::format("`{}` is there already", options_.out))
          .Help("remove it, or name another directory");
      return false;
    }
    if (!FolderExists(options_.out, out_)) return false;
    if (Holds(options_.out + ".part", source)) {
      out_->Add(Code::kUsage, fmt::format("`{}.part`, which is written first, holds the checkpoint",
                                          options_.out))
          .Fact("effect", "the checkpoint would be lost: nothing is written")
          .Help("name another directory");
      return false;
    }
    part_ = options_.out + ".part";
    fs::remove_all(part_, error);
    if (!fs::create_directory(part_, error)) return Fail(part_, error.message());
    for (const std::string& name : ConfigFiles()) {
      const std::string from = fmt::format("{}/{}", source, name);
      if (!PathExists(from)) continue;
      const auto text = ReadFile(from, JsonLimits().bytes, Code::kMissingFile, out_);
      if (!text || !WriteText(fmt::format("{}/{}", part_, name), *text)) return false;
    }
    return WriteText(part_ + "/tensors.json", listing);
  }

  bool WriteText(const std::string& path, const std::string& text) {
    std::ofstream file(path, std::ios::binary);
    file << text;
    file.close();
    return file.good() || Fail(path, "the disk is full or the folder cannot be written");
  }

  // What was written is read as any fixture is, and must say what the headers said.
  bool ReadsBack(const Checkpoint& checkpoint) {
    const auto fixture = ReadCheckpoint(part_, out_);
    std::string difference;
    if (!fixture) return false;
    if (SameListing(checkpoint, *fixture, &difference)) return true;
    out_->Add(Code::kInternal, fmt::format("{} was not captured as it is", Quoted(difference)));
    return false;
  }

  bool Fail(const std::string& path, const std::string& why) {
    out_->Add(Code::kIo, fmt::format("cannot write {}: {}", Quoted(path), why),
              {nullptr, path, 0, 0, 0, ""});
    return false;
  }

  const CaptureOptions& options_;
  Diagnostics* out_ = nullptr;
  std::string part_;
};

}  // namespace

int Capture(const Common& common, const CaptureOptions& options) {
  Diagnostics findings;
  const std::string done = Capturer(options).Run(&findings);
  std::string text = FindingsReport(findings, Options(common, "capture", options.checkpoint));
  if (common.format == Format::kHuman) text += done;
  Print(text);
  return findings.ExitCode();
}

}  // namespace ferrule::cli
