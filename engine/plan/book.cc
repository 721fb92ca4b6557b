// SPDX-License-Identifier: Apache-2.0
#include "engine/plan/book.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "engine/plan/book_scan.h"
#include "engine/plan/rule_folder.h"
#include "engine/text/file.h"

namespace ferrule {
namespace {

namespace fs = std::filesystem;

// Names of the regular files of `directory` that end in .yaml, sorted.
bool YamlFiles(const std::string& directory, std::vector<std::string>* paths, Diagnostics* out) {
  std::error_code error;
  fs::directory_iterator at(directory, error);
  if (error) {
    out->Add(error == std::errc::no_such_file_or_directory ? Code::kNotFound : Code::kIo,
             fmt::format("the directory {} cannot be read: {}", Quoted(directory), error.message()),
             {nullptr, directory, 0, 0, 0, ""});
    return false;
  }
  for (; at != fs::directory_iterator(); at.increment(error)) {
    if (error) break;
    if (at->path().extension() == ".yaml" && !at->is_directory(error))
      paths->push_back(at->path().string());
  }
  std::sort(paths->begin(), paths->end());
  return true;
}

// A directory that adds nothing was named by mistake: what stands elsewhere would decide unnoticed.
void ReportEmpty(const std::string& directory, Diagnostics* out) {
  Finding& finding = out->Add(
      Code::kNotFound, fmt::format("no rule file, dialect or runtime is in {}", Quoted(directory)),
      {nullptr, directory, 0, 0, 0, ""});
  HelpEmpty(directory, directory, &finding);
  finding.Fact("effect", "the other rules would decide as if the directory had not been named");
}

void AddRules(Book* book, std::shared_ptr<const RuleFile> file, bool wins, Diagnostics* out) {
  for (const std::string& type : file->model_types) {
    const auto [at, fresh] = book->by_model_type.emplace(type, file);
    if (fresh) continue;
    if (!wins) {
      out->Add(Code::kModelTypeTwice,
               fmt::format("the model_type {} is claimed by two files", Quoted(type)),
               file->At(file->yaml.root.Find("model_type")->place))
          .Mark(at->second->At(at->second->yaml.root.Find("model_type")->place), "and by this one");
      continue;
    }
    at->second = file;
  }
  book->files.push_back(std::move(file));
}

// Reports a dialect whose name or method another file of the directory has.
bool Unclaimed(const Dialects& others, const Dialect& dialect, Diagnostics* out) {
  const auto twice = [&](const std::string& what, const char* key, const Dialect& other) {
    const YamlNode& root = dialect.yaml.root;
    const YamlNode* at = root.Find(key);
    out->Add(Code::kDialectTwice, fmt::format("{} is claimed by two dialect files", what),
             dialect.yaml.At(*at))
        .Fact("other", other.yaml.source->path());
    return false;
  };
  for (const auto& other : others) {
    if (other->name == dialect.name)
      return twice(fmt::format("the name {}", Quoted(dialect.name)), "dialect", *other);
    // A file that says when it claims a method goes before the one that does not.
    if (other->claims_when.has_value() != dialect.claims_when.has_value()) continue;
    for (const std::string& method : dialect.quant_methods)
      if (std::find(other->quant_methods.begin(), other->quant_methods.end(), method) !=
          other->quant_methods.end())
        return twice(fmt::format("the quant_method {}", Quoted(method)), "claims", *other);
  }
  return true;
}

// Whether `path` is one of `files`, which are read by themselves.
bool IsNamed(const std::string& path, const std::vector<std::string>& files) {
  return std::any_of(files.begin(), files.end(), [&](const std::string& file) {
    std::error_code error;
    return fs::equivalent(path, file, error);
  });
}

bool ReadRules(const std::string& path, const BookOptions& options, bool named, Book* book,
               bool wins, Diagnostics* out) {
  std::optional<std::string> text = ReadFile(path, kYamlMaxBytes + 1, Code::kNotFound, out);
  if (!text) return false;
  if (!named && !options.only_model_type.empty() && !MayClaim(*text, options.only_model_type)) {
    book->complete = false;
    return true;
  }
  for (const std::string kind : {"dialect", "runtime"})
    if (!named && HasKey(*text, kind) && !HasKey(*text, "model_type")) {
      out->Add(Code::kUnknownKey, fmt::format("a {} file lies among the rule files", kind),
               {nullptr, path, 0, 0, 0, ""})
          .Fact("effect", "what lies there is read as a rule file, and this is none")
          .Help(fmt::format("move it to `{}/`",
                            (fs::path(path).parent_path() / (kind + "s")).string()));
      return true;
    }
  const std::string& type = options.only_model_type;
  // Broken so that it may be meant for this model, although it does not name it.
  const bool unclear = !named && !type.empty() && text->find(type) == std::string::npos;
  Diagnostics mistakes;
  auto file =
      ParseRuleFile(path, std::move(*text), &mistakes, type.empty() ? Tests::kRead : Tests::kLeave);
  if (file || !unclear || mistakes.dropped() > 0) {
    out->Append(mistakes);
  } else {
    for (const Finding& mistake : mistakes.findings()) {
      const bool first = &mistake == &mistakes.findings()[0];
      Finding& added = out->Add(mistake);
      if (first)
        added.Fact("effect", fmt::format("it may be meant for {}: other rules do not decide in its "
                                         "place",
                                         Quoted(type)));
    }
  }
  if (file) AddRules(book, std::move(file), wins, out);
  return true;
}

// The dialect files `paths`; with `sources` those that the checkpoint may need.
Dialects ReadDialects(const std::vector<std::string>& paths, const QuantSources* sources,
                      Book* book, Diagnostics* out) {
  std::vector<std::pair<std::string, std::string>> files;
  for (const std::string& path : paths)
    if (auto text = ReadFile(path, kYamlMaxBytes + 1, Code::kNotFound, out))
      files.emplace_back(path, std::move(*text));
  if (sources != nullptr) {
    DialectScan scan(*sources);
    std::vector<bool> needed;
    needed.reserve(files.size());
    for (const auto& [path, text] : files) needed.push_back(scan.MayApply(text));
    size_t kept = 0;
    for (size_t i = 0; i < files.size(); ++i)
      if (needed[i] || !scan.all_claimed()) std::swap(files[kept++], files[i]);
    if (kept < files.size()) book->complete = false;
    files.resize(kept);
  }
  Dialects read;
  for (auto& [path, text] : files) {
    auto dialect = ParseDialect(path, std::move(text), out);
    if (dialect && Unclaimed(read, *dialect, out)) read.push_back(std::move(dialect));
  }
  return read;
}

}  // namespace

std::vector<KnownFused> Book::Fused(const RuleFile* except) const {
  std::vector<KnownFused> known;
  const auto walk = [&](const RuleFile& file, const RuleNode& node, const auto& self) -> void {
    if (node.kind == NodeKind::kFused) {
      KnownFused fused{PathText(node.segments), {}, file.path};
      for (const NamedText& part : node.parts) fused.parts.push_back(part.name);
      known.push_back(std::move(fused));
    }
    for (const RuleNode& child : node.children) self(file, child, self);
    for (const RuleNode& way : node.either) self(file, way, self);
  };
  for (const auto& file : files) {
    if (file.get() == except) continue;
    walk(*file, file->root, walk);
    for (const auto& [name, shape] : file->shapes) walk(*file, shape, walk);
  }
  return known;
}

std::optional<Book> LoadBook(const BookOptions& options, Diagnostics* out) {
  Book book;
  book.complete = true;
  book.directories = options.directories;
  for (size_t d = 0; d < options.directories.size(); ++d) {
    const std::string& directory = options.directories[d];
    std::vector<std::string> rules, dialects;
    if (!YamlFiles(directory, &rules, out)) return std::nullopt;
    Book layer;  // model types are unique within one directory
    layer.complete = true;
    for (const std::string& path : rules)
      if (!IsNamed(path, options.files)) ReadRules(path, options, false, &layer, false, out);
    book.complete = book.complete && layer.complete;
    for (auto& file : layer.files) AddRules(&book, std::move(file), true, out);
    const std::string folder = (fs::path(directory) / "dialects").string();
    std::error_code error;
    const bool has_dialects = fs::is_directory(folder, error);
    if (has_dialects && !YamlFiles(folder, &dialects, out)) return std::nullopt;
    if (rules.empty() && dialects.empty() &&
        !HoldsYaml((fs::path(directory) / "runtimes").string())) {
      ReportEmpty(directory, out);
      return std::nullopt;
    }
    // With overlays a file that claims nothing here may still replace one that does.
    Dialects here = ReadDialects(
        dialects, options.directories.size() == 1 ? options.only_sources : nullptr, &book, out);
    for (std::shared_ptr<const Dialect>& dialect : here) {
      const auto same =
          std::find_if(book.dialects.begin(), book.dialects.end(),
                       [&](const auto& other) { return other->name == dialect->name; });
      if (same != book.dialects.end())
        *same = std::move(dialect);
      else
        book.dialects.push_back(std::move(dialect));
    }
  }
  for (const std::string& path : options.files)
    if (!ReadRules(path, options, true, &book, true, out)) return std::nullopt;
  return book;
}

void CheckDiffers(const Book& book, const RuleFile& file, Diagnostics* out) {
  std::map<std::string, YamlPlace> named;  // siblings of this file
  const auto collect = [](const RuleFile& from, std::map<std::string, YamlPlace>* into) {
    const auto walk = [&](const RuleNode& node, const auto& self) -> void {
      for (const NamedText& text : node.differs) into->emplace(text.name, text.place);
      for (const RuleNode& child : node.children) self(child, self);
      for (const RuleNode& way : node.either) self(way, self);
    };
    walk(from.root, walk);
    for (const auto& [name, shape] : from.shapes) walk(shape, walk);
  };
  collect(file, &named);
  for (const auto& [sibling, place] : named) {
    const auto other = book.by_model_type.find(sibling);
    if (other == book.by_model_type.end()) {
      std::vector<std::string> known;
      for (const auto& [type, described] : book.by_model_type) known.push_back(type);
      const std::string nearest = NearestName(sibling, known);
      out->Add(Code::kDiffersUnanswered,
               fmt::format("`differs` names {}, and no rule file describes it", Quoted(sibling)),
               file.At(place))
          .Help(nearest.empty() ? "" : fmt::format("did you mean `{}`?", nearest));
      continue;
    }
    if (other->second.get() == &file) continue;
    std::map<std::string, YamlPlace> answers;
    collect(*other->second, &answers);
    const bool answered =
        std::any_of(file.model_types.begin(), file.model_types.end(),
                    [&](const std::string& type) { return answers.count(type) > 0; });
    if (!answered)
      out->Add(Code::kDiffersUnanswered,
               fmt::format("`differs` names {}, but {} does not name {}", Quoted(sibling),
                           other->second->path, Quoted(file.model_types[0])),
               file.At(place))
          .Help(fmt::format("say there as well how the two formats differ"));
  }
}

std::string DefaultRules() {
  Dl_info info;
  std::error_code error;
  if (dladdr(reinterpret_cast<const void*>(&DefaultRules), &info) != 0 &&
      info.dli_fname != nullptr) {
    // <prefix>/lib[/<triplet>]/libferrule.so or <prefix>/bin/ferrule
    const fs::path here = fs::weakly_canonical(info.dli_fname, error).parent_path();
    if (!error)
      for (const fs::path& prefix : {here.parent_path(), here.parent_path().parent_path()}) {
        const fs::path rules = prefix / "share" / "ferrule" / "rules";
        if (fs::is_directory(rules, error)) return rules.string();
      }
  }
  for (const char* path : {FERRULE_INSTALLED_RULES, FERRULE_SOURCE_RULES})
    if (fs::is_directory(path, error)) return path;
  return {};
}

}  // namespace ferrule
