// SPDX-License-Identifier: Apache-2.0
// What a runtime decides: runtime file + function + inputs → result, or the class of the error that
// the engine raises.
//
//   RuntimeQuestion question = ReadRuntimeQuestion(row, maps);                 // one line of
//   `ferrule decide` RuntimeAnswer answer = Emulate(*runtime, "is_layer_skipped", question,
//   &regexes); answer.result                                                // skip, quant, none,
//   error …
//
// A question is asked of one function; nothing is remembered between questions but compiled
// patterns and lists that a function normalised. A pattern that RE2 cannot express gives
// `unsupported`, unless the answer is the same whether it matches or not.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/runtimes/entry_index.h"
#include "engine/runtimes/runtime.h"
#include "engine/text/json.h"

namespace ferrule {

struct QuestionEntry {
  std::string text;  // an element of a list, or a name of an object
  JsonValue value;   // what stands under that name
  size_t index = 0;  // in its list
  size_t group = 0;  // of a list of lists: which one
};
using QuestionList = std::vector<QuestionEntry>;

// Indexes of the long lists of one question. They hold to its lists, so a copy begins without any.
struct QuestionIndexes {
  struct Use {
    int times = 0;
    std::unique_ptr<const EntryIndex> index;
  };
  std::map<std::pair<const QuestionList*, const std::vector<MatchRule>*>, Use> of;

  QuestionIndexes() = default;
  QuestionIndexes(const QuestionIndexes& /*other*/) {}
  QuestionIndexes(QuestionIndexes&&) = default;
  QuestionIndexes& operator=(const QuestionIndexes& other) {
    if (this != &other) of.clear();
    return *this;
  }
  QuestionIndexes& operator=(QuestionIndexes&&) = default;
  ~QuestionIndexes() = default;
};

struct RuntimeQuestion {
  std::string name;                                        // the module path as the engine asks it
  std::map<std::string, std::string, std::less<>> texts;   // layer, class, key …
  std::map<std::string, QuestionList, std::less<>> lists;  // list, targets, quantized_layers …
  std::set<std::string, std::less<>> flags;                // inputs that are true
  std::set<std::string, std::less<>> absent;               // inputs that are null
  FusedMap map;                                            // the fused map that is passed
  // INVARIANT: once asked, a question changes only in `name`, `texts` and `flags`.
  mutable QuestionIndexes indexes;
  // Lists as a function normalises them, for the text `key` that it asks with: long ones take
  // longer to make than to ask. Whoever changes `lists` after a question clears them
  // and `indexes`.
  mutable std::map<std::pair<const ListRule*, std::string>, QuestionList> built;
};

struct RuntimeAnswer {
  std::string result;  // skip | quant | none | ok | error | unsupported | another word of the file
  std::string error;   // class: ValueError, re.error …; of `unsupported` the construct
  std::vector<std::pair<std::string, std::string>> fields;  // name → JSON text
  bool is_error() const { return result == "error"; }
  friend bool operator==(const RuntimeAnswer&, const RuntimeAnswer&) = default;
};

// Named fused maps and rename tables of a file of questions.
struct RuntimeNames {
  std::vector<std::pair<std::string, FusedMap>> maps;
  JsonValue mappers;
};

FusedMap ReadFusedMap(const JsonValue& object);
// Empty with a reason when the row is no question.
std::optional<RuntimeQuestion> ReadRuntimeQuestion(const JsonValue& row, const RuntimeNames& names,
                                                   std::string* why);

// INVARIANT: the runtime has the function.
RuntimeAnswer Emulate(const Runtime& runtime, std::string_view function,
                      const RuntimeQuestion& question, PythonRegexes* regexes);

}  // namespace ferrule
