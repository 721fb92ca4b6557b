// SPDX-License-Identifier: Apache-2.0
// The evaluator of a runtime's functions, shared by the files emulation*.cc.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "engine/runtimes/emulation.h"

namespace ferrule {

// kUnknown: it hangs on a pattern that RE2 cannot express. kRaised: the engine stops here.
enum class Truth : uint8_t { kNo, kYes, kUnknown, kRaised };

class Emulator {
 public:
  Emulator(const Runtime& runtime, const RuntimeQuestion& question, PythonRegexes* regexes)
      : runtime_(runtime), question_(question), regexes_(*regexes) {}
  RuntimeAnswer Run(std::string_view function);

 private:
  // One call of a function.
  struct Frame {
    const RuntimeFunction* function = nullptr;
    const Runtime* home = nullptr;           // the file that defines it: its tables and helpers
    std::string name;                        // the module path
    std::string whole;                       // within `parts`: the fused name
    std::string layer;                       // the class that `layer` tests see
    const FusedMap* map = nullptr;           // the argument
    const QuestionEntry* entry = nullptr;    // that `first` found
    const RuntimeAnswer* answer = nullptr;   // that `ask … then` got
    std::set<std::string>* flags = nullptr;  // of this call
    std::map<std::string, std::vector<std::string>>* gathered = nullptr;  // lists in the making
    // Lists that a caller normalised, under their names.
    std::map<std::string, const QuestionList*, std::less<>> passed;
  };
  using Decision = std::optional<RuntimeAnswer>;  // nothing: the step does not decide

  // emulation.cc: steps
  Decision Call(std::string_view function, const Frame& caller, std::string name,
                const FusedMap* map);
  Decision Steps(const std::vector<Step>& steps, const Frame& frame);
  Decision Do(const Step& step, const Frame& frame);
  Decision Ask(const Step& step, const Frame& frame);
  Decision First(const Step& step, const Frame& frame);
  Decision Conclude(Truth truth, const Step& step, const Frame& frame);
  RuntimeAnswer Give(const Step& step, const Frame& frame) const;
  std::string Word(std::string_view what, const Frame& frame) const;
  std::string Fill(std::string_view text, const Frame& frame) const;
  RuntimeAnswer Raised() const { return {"error", error_, {}}; }
  RuntimeAnswer Unsupported() const { return {"unsupported", why_, {}}; }

  // emulation_fused.cc: parts of a fused name
  struct Fused {
    std::string key;
    const std::vector<std::string>* parts;
  };
  std::vector<Fused> FindFused(const Frame& frame) const;
  std::string Rewritten(const Frame& frame, const Fused& fused, const std::string& part) const;
  std::vector<std::vector<std::string>> Groups(const Step& step, const Frame& frame);
  Decision Parts(const Step& step, const Frame& frame);
  bool Agree(const Step& step, const std::vector<Decision>& parts, Decision* out);

  // emulation_condition.cc
  Truth Holds(const Test& test, const Frame& frame);
  Truth Listed(const Test& test, const Frame& frame);
  Truth Says(const Test& test, const Frame& frame);

  // emulation_match.cc
  std::vector<std::string> Other(const std::vector<NameForm>& forms, const Frame& frame) const;
  using Asked = std::vector<std::vector<std::string>>;  // for each rule
  Asked AskedBy(const std::vector<MatchRule>& rules, const Frame& frame) const;
  Truth Names(const std::vector<MatchRule>& rules, const Asked& asked, std::string_view entry,
              const Frame& frame);
  // Numbers of entries in order: some, or the first `count`.
  struct Places {
    std::vector<uint32_t> some;
    size_t count = 0;
    bool found = false;
    size_t size() const { return found ? some.size() : count; }
    size_t operator[](size_t i) const { return found ? some[i] : i; }
  };
  Places ToAsk(const std::vector<MatchRule>& rules, const Asked& asked, const QuestionList& list,
               const Frame& frame) const;
  static std::vector<std::string_view> Classes(const Frame& frame);
  Truth Matches(const MatchRule& rule, std::string_view entry, std::string_view name,
                const Frame& frame);
  Truth Pattern(const MatchRule& rule, std::string_view entry, std::string_view name);

  // emulation_list.cc
  const QuestionList& List(std::string_view name, const Frame& frame);
  QuestionList Build(const ListRule& rule) const;
  Truth Gather(const Step& step, const Frame& frame);
  std::optional<std::string> Renamed(const std::string& name) const;

  // emulation_tree.cc
  RuntimeAnswer Tree(const RuntimeFunction& function, const Frame& frame);

  const Runtime& runtime_;
  const RuntimeQuestion& question_;
  PythonRegexes& regexes_;
  std::string error_, why_;
  int depth_ = 0;
};

}  // namespace ferrule
