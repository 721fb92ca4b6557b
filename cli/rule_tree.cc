// SPDX-License-Identifier: Apache-2.0
#include "cli/rule_tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "cli/commit_tree.h"
#include "engine/plan/book_scan.h"
#include "engine/plan/rule_folder.h"
#include "engine/report/engine_state.h"
#include "engine/text/file.h"

namespace ferrule::cli {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxPlanBytes = uint64_t{1} << 30;

bool Holds(const Book& book, const std::string& path) {
  return std::any_of(book.files.begin(), book.files.end(),
                     [&](const auto& file) { return file->path == path; }) ||
         std::any_of(book.dialects.begin(), book.dialects.end(),
                     [&](const auto& dialect) { return dialect->yaml.source->path() == path; });
}

// Whether the word before an `@` is an engine that some file describes: `HEAD@{1}` is a commit.
bool NamesEngine(const Common& common, const std::string& word) {
  const std::string engine = word.substr(0, word.find('@'));
  if (engine.size() == word.size()) return false;
  Diagnostics ignored;
  const auto runtimes = ReadRuntimes(common, &ignored);
  return runtimes && std::any_of(runtimes->runtimes.begin(), runtimes->runtimes.end(),
                                 [&](const auto& runtime) { return runtime->engine == engine; });
}

}  // namespace

RuleTree::~RuleTree() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
}

RuleTree::RuleTree(RuleTree&& other) noexcept
    : word_(std::move(other.word_)),
      temporary_(std::exchange(other.temporary_, std::string())),
      book_(std::move(other.book_)),
      mistakes_(std::move(other.mistakes_)),
      saved_(std::move(other.saved_)),
      runtime_(std::move(other.runtime_)) {}

std::optional<RuleTree> RuleTree::Open(const Common& common, const std::string& word,
                                       Diagnostics* out) {
  RuleTree tree;
  tree.word_ = word;
  std::error_code error;
  if (!fs::exists(word, error) && NamesEngine(common, word)) {
    const auto runtimes = ReadRuntimes(common, out);
    tree.runtime_ = runtimes ? runtimes->Find(word, out) : nullptr;
    if (tree.runtime_ == nullptr) return std::nullopt;
    tree.book_ = ReadBook(common, {}, &tree.mistakes_);
  } else if (word == "default") {
    tree.book_ = ReadBook(common, {}, &tree.mistakes_);
  } else if (fs::is_directory(word, error)) {
    if (!tree.ReadDirectory(common, word, out)) return std::nullopt;
  } else if (fs::is_regular_file(word, error) && fs::path(word).extension() == ".yaml") {
    tree.book_ = ReadBook(common, {word}, &tree.mistakes_);
  } else if (fs::is_regular_file(word, error)) {
    const auto text = ReadFile(word, kMaxPlanBytes, Code::kNotFound, out);
    JsonLimits limits;
    limits.bytes = kMaxPlanBytes;
    const auto json = text ? ParseJson(word, *text, limits, out) : std::nullopt;
    if (json) tree.saved_ = ReadPlanState(*json, out);
    if (!tree.saved_) return std::nullopt;
    if (!tree.saved_->planned) {
      const auto& errors = tree.saved_->errors;
      Finding& finding = out->Add(Code::kJsonType, "there is no plan in this file, only findings",
                                  {nullptr, word, 0, 0, 0, ""});
      if (!errors.empty()) finding.Fact(errors[0].code, errors[0].message);
      finding.Help("write it again once `ferrule plan` makes a plan: ferrule plan DIR -f json");
      return std::nullopt;
    }
    return tree;
  } else {
    tree.temporary_ = MakeTemporary(out);
    if (tree.temporary_.empty()) return std::nullopt;
    std::string why;
    if (!CheckOut(word, tree.temporary_, &why)) {
      out->Add(Code::kNotFound,
               fmt::format("`{}` is no directory, no saved plan, and no commit here that has rules",
                           word))
          .Fact("git", why)
          .Help(
              "name `default`, a directory, a plan saved as JSON, ENGINE@VERSION, or REF[:PATH] of "
              "this git repository");
      return std::nullopt;
    }
    if (!tree.ReadDirectory(common, tree.temporary_ + "/rules", out)) return std::nullopt;
  }
  if (tree.book_) return tree;
  out->Append(tree.mistakes_);
  return std::nullopt;
}

bool RuleTree::ReadDirectory(const Common& common, const std::string& directory, Diagnostics* out) {
  const std::string dialects = directory + "/dialects";
  std::error_code error;
  if (!HoldsYaml(directory) && !HoldsYaml(dialects)) {
    Finding& finding = out->Add(
        Code::kNotFound, fmt::format("there is no .yaml file in {}", Quoted(Shown(directory))),
        {nullptr, Shown(directory), 0, 0, 0, ""});
    HelpEmpty(directory, Shown(directory), &finding);
    return false;
  }
  Common over = common;
  over.rules.push_back(directory);
  BookOptions alone;
  alone.directories = {directory};
  book_ = fs::is_directory(dialects, error) ? LoadBook(alone, &mistakes_)
                                            : ReadBook(over, {}, &mistakes_);
  return true;
}

std::string RuleTree::Shown(const std::string& path) const {
  const std::string inside = temporary_ + "/rules";
  if (temporary_.empty() || path.compare(0, inside.size(), inside) != 0) return path;
  return (word_.find(':') == std::string::npos ? word_ + ":rules" : word_) +
         path.substr(inside.size());
}

Finding RuleTree::Named(Finding finding) const {
  finding.at.path = Shown(finding.at.path);
  for (Label& label : finding.labels) label.at.path = Shown(label.at.path);
  return finding;
}

std::vector<Finding> RuleTree::Mistakes() const {
  std::vector<Finding> errors;
  for (const Finding& finding : mistakes_.findings()) {
    if (finding.level != Level::kError) continue;
    errors.push_back(Named(finding));
  }
  return errors;
}

std::string RuleTree::Unread(const Checkpoint& checkpoint) const {
  if (!book_) return {};
  if (mistakes_.count(Level::kError) > Diagnostics::kMaxKept) return word_;  // not all are named
  const std::string type(checkpoint.config.Find("model_type").Text());
  for (const Finding& mistake : mistakes_.findings()) {
    const std::string& path = mistake.at.path;
    if (mistake.level != Level::kError || Holds(*book_, path)) continue;
    const bool is_rules = fs::path(path).parent_path().filename() != "dialects";
    Diagnostics ignored;
    const auto text = ReadFile(path, kYamlMaxBytes + 1, Code::kNotFound, &ignored);
    if (!is_rules || !text || MayClaim(*text, type)) return Shown(path);
  }
  return {};
}

PlanState RuleTree::StateOf(const std::shared_ptr<const Checkpoint>& checkpoint, int tp,
                            std::string* left_out, Diagnostics* findings) const {
  if (saved_) return *saved_;
  const std::string unread = Unread(*checkpoint);
  if (!unread.empty()) {
    *left_out = fmt::format("{} has mistakes and is not used", unread);
    return {};
  }
  const std::string type(checkpoint->config.Find("model_type").Text());
  const auto rules = book_->by_model_type.find(type);
  // Also under rules with mistakes: what they would decide is the question.
  const std::optional<Plan> plan =
      rules == book_->by_model_type.end()
          ? ferrule::MakePlan(*book_, checkpoint, {tp}, findings)
          : MakePlanUnder(rules->second, *book_, checkpoint, {tp}, findings);
  if (!plan || runtime_ == nullptr) return ferrule::StateOf(plan ? &*plan : nullptr, *findings);
  Diagnostics compared;
  if (const auto as = ComparePlan(*plan, *runtime_, &compared))
    return StateAs(*plan, *as, *findings);
  *left_out = compared.findings().empty() ? "not described" : compared.findings()[0].message;
  return ferrule::StateOf(&*plan, *findings);
}

}  // namespace ferrule::cli
