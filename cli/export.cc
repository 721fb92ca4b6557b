// SPDX-License-Identifier: Apache-2.0
// ferrule export DIR --to ENGINE@VERSION [--form config|args|mapping] [--dialect NAME] [-o FILE]: a
// skip list, or a map of fused modules, under which that engine decides as the checkpoint is
// stored.
#include "engine/runtimes/export.h"

#include <fmt/format.h>

#include "cli/command.h"
#include "cli/output_file.h"
#include "engine/report/report_parts.h"
#include "engine/text/json_writer.h"

namespace ferrule::cli {
namespace {

constexpr size_t kMaxArgument = 128 << 10;  // bytes in one word of a command line on Linux

// One word for a shell.
std::string ShellQuoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

// The description below the key where the engine looks for it.
std::string Override(const Export& found, bool top) {
  std::string out = found.compact;
  std::string rest = top ? "/quantization_config" : found.place;
  while (!rest.empty()) {
    const size_t at = rest.rfind('/');
    out = fmt::format("{{{}:{}}}", JsonText(rest.substr(at + 1)), out);
    rest.resize(at);
  }
  return out;
}

bool HasOption(const Runtime& runtime, Diagnostics* out) {
  if (runtime.override_option) return true;
  out->Add(Code::kCannotExport,
           fmt::format("{} has no option that replaces a part of config.json", runtime.engine))
      .Help("`--form config` writes what config.json must hold");
  return false;
}

// The words of a command line that replace the description; empty with a finding.
std::string Arguments(const Runtime& runtime, const Export& found, Diagnostics* out) {
  if (found.file != "config.json") {
    out->Add(Code::kCannotExport,
             fmt::format("the list stands in {}, which no option replaces", found.file))
        .Help("`--form config` writes what the file must hold");
    return {};
  }
  const std::string value = ShellQuoted(Override(found, runtime.override_option->top));
  if (value.size() > kMaxArgument) {
    out->Add(Code::kCannotExport,
             fmt::format("the override has {} bytes; one word of a command line holds {}",
                         value.size(), kMaxArgument))
        .Help("`--form config` writes what config.json must hold");
    return {};
  }
  return fmt::format("{} {}\n", runtime.override_option->option, value);
}

std::string Mapping(const Export& found) {
  std::string out = "packed_modules_mapping = {\n";
  for (const auto& [fused, parts] : found.map) {
    std::string list;
    for (const std::string& part : parts) list += (list.empty() ? "" : ", ") + JsonText(part);
    out += fmt::format("    {}: [{}],\n", JsonText(fused), list);
  }
  return out + "}\n";
}

std::string Text(const ExportCommand& options, const Runtime& runtime, const Export& found,
                 Diagnostics* out) {
  if (options.form == "mapping") return Mapping(found);
  return options.form == "args" ? Arguments(runtime, found, out) : found.description + "\n";
}

std::string Json(const ExportCommand& options, const Export& found, const std::string& text,
                 const Diagnostics& findings, const ReportOptions& report) {
  JsonWriter out;
  WriteHead(report, &out);
  out.Key("model").Text(report.model).Key("to").Text(options.to).Key("form").Text(options.form);
  out.Key("file").TextOrNull(found.file).Key("place").TextOrNull(found.place);
  out.Key("key").TextOrNull(found.key).Key("entries").BeginArray();
  for (const std::string& entry : found.entries) out.Text(entry);
  out.EndArray().Key("asked").Int(found.asked).Key("text").Text(text);
  WriteFindings(findings, &out);
  out.EndObject();
  return out.Take() + "\n";
}

}  // namespace

int ExportTo(const Common& common, const ExportCommand& options) {
  Diagnostics findings;
  std::optional<Export> found;
  std::shared_ptr<const Runtime> runtime;
  std::string text;
  if (const auto checkpoint = ReadCheckpoint(options.checkpoint, &findings)) {
    if (!options.out.empty() &&
        !MayWrite({"--out", options.out}, {checkpoint.get(), {}}, &findings))
      return Finish(common, "export", findings);
    const auto runtimes = ReadRuntimes(common, &findings);
    runtime = runtimes ? runtimes->Find(options.to, &findings) : nullptr;
    if (runtime && options.form == "args" && !HasOption(*runtime, &findings)) runtime = nullptr;
    const auto book = runtime ? ReadBook(common, {}, &findings) : std::nullopt;
    Diagnostics planned;
    const auto plan = book ? ferrule::MakePlan(*book, checkpoint, {1}, &planned) : std::nullopt;
    if (plan)
      found = ExportFor(*book, *runtime, *plan, planned,
                        {options.dialect, options.form == "mapping"}, &findings);
    else
      findings.Append(planned);
  }
  if (found) text = Text(options, *runtime, *found, &findings);
  if (text.empty()) return Finish(common, "export", findings);
  if (!options.out.empty() && !WriteText(options.out, text, &findings))
    return Finish(common, "export", findings);
  if (common.format == Format::kJson)
    Print(Json(options, *found, text, findings, Options(common, "export", options.checkpoint)));
  else if (options.out.empty())
    Print(text);
  else if (options.form == "mapping")
    Print(fmt::format("{} fused modules: {}; {} modules of {} decided as stored\n",
                      found->map.size(), options.out, found->asked, options.to));
  else
    Print(fmt::format("{} entries under `{}`, {} before: {}; {} modules of {} decided as stored\n",
                      found->entries.size(), found->key, found->listed, options.out, found->asked,
                      options.to));
  return findings.ExitCode();
}

}  // namespace ferrule::cli
