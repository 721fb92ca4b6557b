// SPDX-License-Identifier: Apache-2.0
// What other rule files say of modules with the same names: the knowledge that a maintainer takes
// from the nearest file. Shapes decide whether it fits; nothing is believed that does not.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/checkpoint/model_config.h"
#include "engine/plan/book.h"

namespace ferrule {

// A declaration of one rule file, its expressions written out over config.json.
struct KnownModule {
  const RuleFile* file = nullptr;
  const RuleNode* node = nullptr;
  std::string parent;  // last segment above it: self_attn
  std::string name;    // its own key: q_proj
  Quantize quantize = Quantize::kDefault;
  // `with` of the subtrees around it: name → expression.
  std::map<std::string, std::string, std::less<>> bound;
};

class KnownModules {
 public:
  // All files of the book that do not describe `model_type`. Files whose names `present` has most
  // of come first.
  KnownModules(const Book& book, std::string_view model_type,
               const std::vector<std::string>& present);

  // Declarations of `name`, those below a parent of the same name first, nearest files first.
  std::vector<const KnownModule*> Find(std::string_view name, std::string_view parent) const;
  // Fused names that some file declares over parts below `parent`.
  const std::vector<KnownModule>& all() const { return modules_; }

  // The expression of `dim` with the file's own names replaced by what they stand for; the first
  // alternative that the config answers. Empty when there is none.
  static std::string WriteOut(const KnownModule& module, const Dim& dim, const ConfigScope& config);

 private:
  void Walk(const RuleFile& file, const RuleNode& node, const KnownModule& around,
            const std::string& parent, int depth);
  std::vector<KnownModule> modules_;
};

}  // namespace ferrule
