// SPDX-License-Identifier: Apache-2.0
// All rule and dialect files of one or more directories, as one immutable book.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/lists/dialect.h"
#include "engine/plan/decision.h"
#include "engine/rules/rule_file.h"

namespace ferrule {

struct Book {
  std::vector<std::shared_ptr<const RuleFile>> files;
  std::map<std::string, std::shared_ptr<const RuleFile>, std::less<>> by_model_type;
  Dialects dialects;
  std::vector<std::string> directories;  // that were read, as given; later ones win
  // True when every file of the directories was read, not only those of one model_type.
  bool complete = false;

  // Fused names of all files but `except`.
  std::vector<KnownFused> Fused(const RuleFile* except) const;
};

struct BookOptions {
  // Later directories win: rule files by model_type, dialects by name.
  std::vector<std::string> directories;
  // Not empty: rule files that plainly claim other model types only are not read, and of the others
  // not their `tests:`.
  std::string only_model_type;
  // Single rule files that win over all directories.
  std::vector<std::string> files;
  // Not null: dialects that plainly claim nothing of this checkpoint are not read.
  const QuantSources* only_sources = nullptr;
};

// Reads what there is; files with mistakes are left out and reported. Empty only when a directory
// cannot be read or holds neither rules nor dialects nor runtimes.
std::optional<Book> LoadBook(const BookOptions& options, Diagnostics* out);

// `differs` between files: the sibling's file exists and answers. For `check`.
void CheckDiffers(const Book& book, const RuleFile& file, Diagnostics* out);

// Where the rules of this library are: installed beside it, else in the source tree it was built
// from. Empty when neither is there.
std::string DefaultRules();

}  // namespace ferrule
