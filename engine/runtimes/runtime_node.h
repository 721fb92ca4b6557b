// SPDX-License-Identifier: Apache-2.0
// Readers of the pieces of a runtime file, shared by the files runtime*.cc.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/runtimes/runtime.h"

namespace ferrule {

// Everything adds findings and returns false when something is wrong.
class RuntimeNodeReader {
 public:
  RuntimeNodeReader(const YamlReader& reader, PythonModule module)
      : reader_(reader), module_(module) {}

  // runtime_match.cc
  bool ReadText(const YamlNode& node, std::string_view what, TextRule* out) const;
  bool ReadNames(const YamlNode& node, std::string_view what, std::vector<NameForm>* out) const;
  bool ReadMatch(const YamlNode& node, std::vector<MatchRule>* out) const;
  // runtime_steps.cc
  bool ReadTest(const YamlNode& node, Test* out) const;
  bool ReadSteps(const YamlNode& node, std::vector<Step>* out) const;

  const YamlReader& reader() const { return reader_; }

 private:
  bool ReadName(const YamlNode& node, std::string_view what, NameForm* out) const;
  bool ReadRule(const YamlNode& node, MatchRule* out) const;
  bool MatchWord(const YamlNode& node, MatchRule* out) const;
  bool ReadTests(const YamlNode& node, std::string_view what, std::vector<Test>* out) const;
  bool TestWord(const YamlNode& node, Test* out) const;
  bool ReadListed(const YamlNode& map, const YamlNode& value, Test* out) const;
  bool ReadStep(const YamlNode& node, Step* out) const;
  bool ReadIf(const YamlNode& node, Step* out) const;
  bool ReadParts(const YamlNode& node, const YamlNode& value, Step* out) const;
  bool ReadFirst(const YamlNode& node, const YamlNode& value, Step* out) const;
  bool ReadList(const YamlNode& node, const YamlNode& value, Step* out) const;
  bool ReadAsk(const YamlNode& node, const YamlNode& value, Step* out) const;
  // The one key of a map that says what it is; a finding when there are none or two.
  const YamlEntry* Verb(const YamlNode& map, std::string_view what,
                        std::initializer_list<std::string_view> verbs) const;
  bool Text(const YamlNode& map, std::string_view key, std::string* out) const;
  bool Texts(const YamlNode& map, std::string_view key, std::vector<std::string>* out) const;
  bool Flag(const YamlNode& map, std::string_view key, bool* out) const;

  const YamlReader& reader_;
  PythonModule module_;
};

// runtime_sections.cc: fused name → parts; and what plans need, `methods` to `block_check`.
bool ReadFusedTable(const YamlReader& reader, const YamlNode& node, std::string_view what,
                    FusedMap* out);
bool ReadRuntimeSections(const YamlReader& reader, const YamlNode& root, Runtime* out);

}  // namespace ferrule
