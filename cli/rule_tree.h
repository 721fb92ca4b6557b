// SPDX-License-Identifier: Apache-2.0
// One side of `ferrule diff`: a word of the command line → a book of rules, or a saved plan.
//
//   default             the rules that ferrule uses without options
//   DIR                 a directory of rules; with a `dialects` folder in it by itself, else over
//                       the default rules
//   FILE.yaml           one rule file over the default rules
//   FILE.json           a plan saved with `ferrule plan -f json`
//   ENGINE@VERSION      the default rules, decided as that serving engine would
//   REF[:PATH]          a git commit of the repository around the working directory; PATH (default
//                       `rules`) from its top, read as DIR is
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/command.h"
#include "engine/report/plan_state.h"
#include "engine/runtimes/runtime.h"

namespace ferrule::cli {

class RuleTree {
 public:
  // Empty with findings when the word names nothing that can be read. Mistakes in rule files are
  // not findings here: see Mistakes.
  static std::optional<RuleTree> Open(const Common& common, const std::string& word,
                                      Diagnostics* out);
  ~RuleTree();
  RuleTree(RuleTree&& other) noexcept;
  RuleTree& operator=(RuleTree&&) = delete;

  const std::string& word() const { return word_; }
  // The errors in its files. A file with some may be left out, and what the tree lies over would
  // decide in its place: never without a word.
  std::vector<Finding> Mistakes() const;
  // A finding with its places as the command line would name them.
  Finding Named(Finding finding) const;
  // What this side says of a checkpoint. Of a saved plan: the plan, whatever the checkpoint.
  // `left_out` says why when it says nothing: a file that may describe the model was left out, or
  // an engine does not describe it. Where no plan can be made, `findings` say why.
  PlanState StateOf(const std::shared_ptr<const Checkpoint>& checkpoint, int tp,
                    std::string* left_out, Diagnostics* findings) const;
  // Null when this side is made of rules.
  const PlanState* saved_plan() const { return saved_ ? &*saved_ : nullptr; }

 private:
  RuleTree() = default;
  bool ReadDirectory(const Common& common, const std::string& directory, Diagnostics* out);
  // A file that was left out and may decide this checkpoint; empty: none.
  std::string Unread(const Checkpoint& checkpoint) const;
  // A path as the command line would name it: a commit lies in a folder that is removed.
  std::string Shown(const std::string& path) const;
  std::string word_;
  std::string temporary_;  // a directory to remove
  std::optional<Book> book_;
  Diagnostics mistakes_;  // of the book's files
  std::optional<PlanState> saved_;
  std::shared_ptr<const Runtime> runtime_;
};

}  // namespace ferrule::cli
