// SPDX-License-Identifier: Apache-2.0
// A runtime file: what one version of a serving engine decides about a module, function by
// function.
//
//   rules/runtimes/sglang@0.5.23.yaml → functions, each a short program of tests over names
//
// C++ holds only the primitives that the file names: how an entry matches, how a fused name becomes
// its parts, what happens when parts disagree. No engine and no function is known by its name here.
// rules/runtimes/README.md describes the format.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/lists/name_match.h"
#include "engine/runtimes/block_check.h"
#include "engine/runtimes/engine_model.h"
#include "engine/text/yaml.h"

namespace ferrule {

// What a name or an entry looks like; all that is given must hold, any of the texts of each.
struct TextRule {
  bool negated = false;
  std::vector<std::string> is, starts, ends, holds;
  std::string characters;  // at least one of these
  std::optional<bool> empty;
  bool Holds(std::string_view text) const;
};

struct NameContext {
  std::string_view layer;          // the module's class: the form `class`
  std::vector<std::string> parts;  // of a fused name: the form `parts`
};

// Another name under which the same module is looked up. Nothing when it does not apply.
struct NameForm {
  enum class Kind : uint8_t { kSame, kEachSegment, kAncestors, kClass, kParts, kRewrite, kFirstOf };
  Kind kind = Kind::kSame;
  std::string starts, ends;          // where it applies
  std::vector<std::string> becomes;  // instead of `starts`
  std::string is;                    // the whole name
  std::string holds;
  std::string drop;              // a leading text, where it is there
  std::string replaced, with;    // a text wherever it stands, and what stands there instead
  std::string cut;               // a last text, where it is there
  std::vector<TextRule> except;  // names that it is not for
  std::string prepend, append;
  std::vector<NameForm> first_of;
  void Apply(std::string_view name, const NameContext& context,
             std::vector<std::string>* out) const;
};

enum class By : uint8_t {
  kExact,
  kAncestor,
  kSegments,
  kLastSegments,
  kSegment,
  kPrefix,
  kSuffix,
  kText,
  kTextAnyCase,
  kWithin,
  kChild,
  kGlob,
  kModelOptGlob,
  kRegex,
  kLastOf,
  kClass,
};

// How an entry names a module. Several rules are asked in order for each entry.
struct MatchRule {
  By by = By::kExact;
  Anchor anchor = Anchor::kMatch;
  PythonModule module = PythonModule::kRe;
  bool marked = false;  // only `re:` entries, without the mark; no later rule sees such an entry
  bool to_boundary = false;    // of a pattern: the match ends where a segment begins or ends
  bool bad_ignored = false;    // a pattern that does not compile names nothing, without an error
  bool trailing_dots = false;  // both sides without them
  std::string form;            // of a pattern: the entry stands at `{}`
  std::vector<std::string> prefixes;  // the first of these that the entry begins with is taken off
  std::string cut;                    // a last text that is taken off the entry
  std::vector<std::string> words;     // of last-of
  std::vector<NameForm> names;        // asked in order instead of the name
  std::optional<TextRule> only;       // entries that this rule is for

  // What is left of an entry to compare; nothing when the rule is not for it.
  std::optional<std::string_view> Left(std::string_view entry) const;
};

struct ListRule {  // how an input list becomes the list that is asked
  std::string name;
  std::vector<std::string> from;  // the first of these inputs that is not empty
  std::vector<std::string> keys;  // the input `key` must be one of these, else the list is empty
  bool null_counts = false;       // the first of `keys` that is there counts, also one with null
  std::vector<NameForm> forms;    // what each entry becomes
  bool unique = false;            // equal entries: the first one's place, the last one's value
  bool plain_first = false;       // sorted, entries with `re:` after those without
};

enum class FusedKey : uint8_t { kLastSegment, kSuffix, kContainedOnce };
enum class Rewrite : uint8_t { kEvery, kBase, kSuffix };

struct FusedRule {
  std::vector<std::string> maps;  // `argument` or a table of the file; the first that has the name
  FusedKey key = FusedKey::kLastSegment;
  Rewrite rewrite = Rewrite::kEvery;
};

struct Test {
  enum class Kind : uint8_t {
    kListed,
    kFused,
    kName,
    kLeaf,
    kLayer,
    kText,
    kAll,
    kAny,
    kNot,
    kSays,
    kGiven,
    kPresent,
    kEach,
    kFlag,
    kSamePart,
  };
  Kind kind = Kind::kAll;
  std::vector<Test> tests;
  TextRule text;
  std::string name;  // list, function, flag, input or template
  std::string result;
  std::vector<MatchRule> match;
  std::optional<TextRule> only;
  bool exhaustive = false;      // every entry is asked, also after a hit
  std::string replaced;         // each: this text …
  std::vector<std::string> by;  // … by each of these
};

struct Step {
  enum class Kind : uint8_t {
    kResult,
    kRaise,
    kAsk,
    kIf,
    kSteps,
    kParts,
    kFirst,
    kSet,
    kTest,
    kList
  };
  Kind kind = Kind::kResult;
  YamlPlace place;
  Test test;
  std::vector<Step> then, otherwise;
  std::string text;  // result, error class, function, flag, list, field
  std::vector<std::pair<std::string, std::string>> fields;
  std::string map;  // ask: `none` or a table instead of the argument
  std::vector<NameForm> names;
  std::string disagree;
  bool eager = false, absent_ignored = false;
  std::vector<Test> if_any;
  std::string of;  // parts: the entries of this list instead of the parts of a fused name
  std::vector<MatchRule> match;
  std::optional<TextRule> only;
  bool go_on = false;  // first: to the next entry when the steps do not decide
  // list: words, or the entries of an input or of another list that match, under other names
  std::vector<std::string> add;
  std::string from;
  bool renamed = false, only_new = false, sorted = false;
};

// Walks a module tree: every module and container, in the order of named_modules.
struct TreeRule {
  std::string modules;     // the input with the names of the leaves
  std::string leaf;        // class of a leaf
  std::string container;   // class of what stands above the leaves, the root included
  std::string field;       // what is collected, under this name
  std::string value;       // a field of the answer, collected by module; empty: the names alone
  std::vector<Step> then;  // asked afterwards, in order, of each module that the steps call quant
};

struct RuntimeFunction {
  std::string name;
  YamlPlace place;
  std::string same_as;              // version whose function of this name it is
  std::vector<std::string> covers;  // recorded under these names too
  std::vector<ListRule> lists;
  FusedRule fused;
  std::vector<MatchRule> match;
  std::vector<Step> steps;
  std::optional<TreeRule> tree;
  bool hidden = false;  // a helper: asked by other functions only
};

struct KnownDifference {
  std::string function, prefix;    // a row of functions …
  std::string checkpoint, module;  // … or a module of a model, as recorded
  std::string reason;
};

// The word of the engine's command line that replaces a part of config.json.
struct OverrideOption {
  std::string option;
  // `top`: the description counts at the top of config.json, wherever it stood; `place`: mappings
  // are merged, so it is written where it stands.
  bool top = false;
};

struct Runtime {
  YamlFile yaml;
  std::string engine, version;
  std::vector<std::string> covers;  // releases that decide alike
  PythonModule module = PythonModule::kRe;
  std::vector<std::pair<std::string, FusedMap>> tables;
  std::vector<std::pair<std::string, std::vector<std::string>>> classes;  // class → its ancestors
  std::vector<std::shared_ptr<const RuntimeFunction>> functions;
  std::vector<KnownDifference> known_differences;
  std::optional<BlockCheck> block_check;
  std::optional<OverrideOption> override_option;
  std::vector<MethodRule> methods;
  EngineModel modules;              // what all model classes have in common
  std::vector<EngineModel> models;  // by architecture
  bool any_model = false;           // others are built as their checkpoint names them
  // linear, experts, head, embedding → the word that `layer` tests compare.
  std::vector<std::pair<std::string, std::string>> layers;
  std::vector<std::string> one_output;  // last segments of fused modules that have one output
  bool cuts_interleaved = true;  // an interleaved unified tensor has one output for each slice
  std::vector<std::pair<std::string, std::string>> shared;  // section → version it is the same as
  // Where `same_as` leads: the file that defines the function, one of the same book. Not owned: two
  // files may lead to each other.
  std::vector<std::pair<std::string, const Runtime*>> origins;

  const RuntimeFunction* Find(std::string_view function) const;
  // The file whose tables and helpers a function sees.
  const Runtime& Home(std::string_view function) const;
  const FusedMap* Table(std::string_view name) const;
};

// Reads one file; `same_as` is left open.
std::shared_ptr<Runtime> ParseRuntime(std::string path, std::string text, Diagnostics* out);

// All runtimes of `directory`/runtimes, with `same_as` resolved; findings for what is wrong.
struct RuntimeBook {
  // Each keeps all of them alive.
  std::vector<std::shared_ptr<const Runtime>> runtimes;
  // `engine@version`, or a release that one of the engine's files covers. Null with a finding.
  std::shared_ptr<const Runtime> Find(std::string_view name, Diagnostics* out) const;
  // Whether some version of this engine has the function.
  bool Knows(std::string_view engine, std::string_view function) const;
};
// Single `files` win over all directories.
std::optional<RuntimeBook> LoadRuntimes(const std::vector<std::string>& directories,
                                        Diagnostics* out,
                                        const std::vector<std::string>& files = {});
// Joins what `same_as` names; findings when it leads nowhere. What is joined refers to the others.
bool ResolveRuntimes(std::vector<std::shared_ptr<Runtime>>* runtimes, Diagnostics* out);

}  // namespace ferrule
