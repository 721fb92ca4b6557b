// SPDX-License-Identifier: Apache-2.0
#include "engine/infer/infer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "engine/infer/infer_tree.h"
#include "engine/plan/plan.h"

namespace ferrule {
namespace {

bool IsWord(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '-';
  });
}

// `'` doubled within single quotes.
std::string YamlText(std::string_view text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("''") : std::string(1, c);
  return out + "'";
}

std::string YamlValue(const JsonValue& value) {
  if (value.is_string()) return YamlText(value.Text());
  if (!value.is_array()) return value.ToString();
  std::string out;
  for (const JsonValue item : value) out += (out.empty() ? "" : ", ") + YamlValue(item);
  return "[" + out + "]";
}

class Drafter {
 public:
  Drafter(std::shared_ptr<const Checkpoint> checkpoint, const Book& book, Diagnostics* out)
      : shared_(std::move(checkpoint)), checkpoint_(*shared_), book_(book), out_(out) {}

  std::optional<RuleDraft> Run() {
    if (!Readable()) return std::nullopt;
    FindSection();
    config_ = ConfigScope(checkpoint_.config, section_);
    const QuantSources sources = SourcesOf(checkpoint_, section_);
    const auto quant = ReadQuantSources(sources, book_.dialects, {}, out_);
    if (!quant) return std::nullopt;
    quantized_ = quant->schemes.size() > 1;
    TensorRoles roles;
    for (const Scheme& scheme : quant->schemes) {
      if (scheme.rule == nullptr) continue;
      for (const StorageRule& rule : scheme.rule->storage)
        for (const std::string& name : rule.names)
          (rule.role == "weight" ? roles.weights : roles.scales).insert(name);
    }
    // A scale of activations that this config does not ask for is no parameter of the model either.
    if (quant->dialect)
      for (const SchemeRule& scheme : quant->dialect->schemes)
        if (const StorageRule* input = scheme.input())
          roles.scales.insert(input->names.begin(), input->names.end());
    const DimGuess dims(checkpoint_.config, section_);
    const NameTree tree =
        TreeOfNames(checkpoint_, config_.Value("num_hidden_layers").AsInt().value_or(0));
    std::vector<std::string> names;
    if (!Words(*tree.root, &names)) return std::nullopt;
    const KnownModules known(book_, model_type_, names);
    const ModuleDrafter drafter(checkpoint_, *quant, config_, dims, known, roles);
    // Twice: the first draft is planned to see what is never quantized.
    QuantizeWords quantize;
    RuleDraft draft = Write(tree, dims, drafter, roles, quantize);
    quantize = NeverQuantized(draft.yaml, known);
    return Write(tree, dims, drafter, roles, quantize);
  }

 private:
  bool Readable() {
    model_type_ = checkpoint_.config.Find("model_type").Text();
    if (!IsWord(model_type_)) {
      out_->Add(Code::kNoRules, "config.json names no model_type that could name a rule file",
                checkpoint_.config.location());
      return false;
    }
    if (checkpoint_.has_headers) return true;
    out_->Add(Code::kMissingFile, "there are no headers to draft rules from",
              {nullptr, checkpoint_.directory, 0, 0, 0, ""})
        .Help("name a checkpoint with safetensors files, or a header fixture with tensors.json");
    return false;
  }

  // The section where the language model's sizes are.
  void FindSection() {
    if (checkpoint_.config.Find("num_hidden_layers")) return;
    for (const JsonValue value : checkpoint_.config)
      if (value.is_object() && value.Find("num_hidden_layers") && value.Find("vocab_size") &&
          !section_) {
        section_ = value;
        section_name_ = value.name();
      }
  }

  // Segments that are modules; false when one cannot stand in a rule file.
  bool Words(const NameNode& node, std::vector<std::string>* names) {
    for (const auto& child : node.children) {
      const std::string& segment = child->segment;
      if (segment[0] != '<' && !IsWord(segment)) {
        out_->Add(Code::kBadName,
                  fmt::format("{} has a segment that no rule file can name", Quoted(child->path)));
        return false;
      }
      if (!child->children.empty()) names->push_back(segment);
      if (!Words(*child, names)) return false;
    }
    return true;
  }

  RuleDraft Write(const NameTree& tree, const DimGuess& dims, const ModuleDrafter& drafter,
                  const TensorRoles& roles, const QuantizeWords& quantize) {
    TreeWriter writer(drafter, dims, roles, quantize);
    writer.keys_as_values = config_.Value("attention_k_eq_v").AsBool().value_or(false);
    writer.Write(*tree.root);
    TiedHead(*tree.root, drafter, &writer);
    RuleDraft draft;
    for (const DraftLine& line : writer.lines) {
      ++draft.lines;
      draft.unsure += line.sure ? 0 : 1;
      draft.known += line.origin.empty() ? 0 : 1;
    }
    std::string index;
    for (const InferredIndex& i : tree.indices)
      if (writer.text.find("<" + i.name + ">") != std::string::npos)
        index += fmt::format("{}{}: {}", index.empty() ? "" : ", ", i.name, IndexText(i, dims));
    std::string body;
    if (!index.empty()) body += fmt::format("\nindex: {{{}}}\n", index);
    if (!writer.conditions.empty()) body += "\nconditions:\n";
    for (const auto& [name, expression] : writer.conditions)
      body += fmt::format("  {}: {}\n", name, expression);
    body += "\nmodules:\n" + writer.text;
    if (quantized_)
      for (const auto& [path, word] : quantize)
        if (word[0] != '{') draft.unlisted.push_back(path);
    draft.yaml = Head(draft) + body + Example(body) + Test(tree, writer);
    return draft;
  }

  // Where config.json ties the head to the embedding and none is stored. The embedding: the one of
  // vocab_size rows.
  void TiedHead(const NameNode& root, const ModuleDrafter& drafter, TreeWriter* writer) const {
    if (!config_.Value("tie_word_embeddings").AsBool().value_or(false) || root.Child("lm_head"))
      return;
    const int64_t vocab = config_.Value("vocab_size").AsInt().value_or(0);
    std::vector<const NameNode*> open = {&root};
    while (!open.empty()) {
      const NameNode* node = open.back();
      open.pop_back();
      for (const auto& child : node->children) open.push_back(child.get());
      if (node->segment != "embed_tokens" || !node->index.empty() || !drafter.IsModule(*node))
        continue;
      const std::vector<int64_t> shape = drafter.Sizes(*node, 0).shape;
      if (shape.size() != 2 || shape[0] != vocab ||
          shape[1] != config_.Value("hidden_size").AsInt().value_or(0))
        continue;
      return writer->TiedHead(node->path, "rows: vocab_size, in: hidden_size");
    }
  }

  std::string IndexText(const InferredIndex& index, const DimGuess& dims) const {
    std::string count;
    const auto named = [&](const char* key) {
      if (count.empty() && config_.Value(key).AsInt() == index.count) count = key;
    };
    if (index.draft) {
      named("num_nextn_predict_layers");
      named("num_mtp_modules");
      return fmt::format("{{from: num_hidden_layers, count: {}}}",
                         count.empty() ? std::to_string(index.count) : count);
    }
    if (index.name == "mtp") named("mtp_num_hidden_layers");
    if (index.name.starts_with("layer")) named("num_hidden_layers");
    if (index.name.starts_with("expert")) {
      named("num_experts");
      named("n_routed_experts");
      named("num_local_experts");
    }
    if (index.name.starts_with("block")) named("vision_config.depth");
    if (count.empty() && index.count > 4) count = dims.Name(index.count, index.name);
    if (count.empty()) count = std::to_string(index.count);
    return index.from == 0 ? count : fmt::format("{{from: {}, count: {}}}", index.from, count);
  }

  std::string Head(const RuleDraft& draft) const {
    std::string out = fmt::format("ferrule: 1\nmodel_type: {}\nabout: {}\n", model_type_,
                                  YamlText(fmt::format("Draft for {}.", model_type_)));
    if (!section_name_.empty()) out += fmt::format("config: {}\n", section_name_);
    out +=
        "unverified: drafted from headers; names, shapes and conditions are those of one "
        "checkpoint\n\n";
    out += fmt::format(
        "# {} lines, {} of them as in other rule files, {} marked `# ?` where something could not "
        "be told.\n",
        draft.lines, draft.known, draft.unsure);
    out +=
        "# Left to do: the row order of unified tensors and how they are cut (no shape tells), "
        "fused names of the\n"
        "# serving engines, sizes by value alone, `differs` to the siblings, tests.\n";
    return out;
  }

  // The keys of config.json that stand in `body`.
  std::string Example(const std::string& body) const {
    std::map<std::string, std::string> top;
    std::map<std::string, std::map<std::string, std::string>> nested;
    for (size_t at = 0; at < body.size();) {
      size_t end = at;
      const auto part = [&](char c) {
        return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.';
      };
      while (end < body.size() && part(body[end])) ++end;
      const std::string name = body.substr(at, end - at);
      at = std::max(end, at + 1);
      const JsonValue value = name.empty() ? JsonValue() : config_.Value(name);
      if (!value || value.is_object()) continue;
      const size_t dot = name.find('.');
      if (dot == std::string::npos)
        top[name] = YamlValue(value);
      else
        nested[name.substr(0, dot)][name.substr(dot + 1)] = YamlValue(value);
    }
    if (const JsonValue layers = config_.Value("num_hidden_layers"))
      top["num_hidden_layers"] = YamlValue(layers);
    if (top.empty() && nested.empty()) top["model_type"] = YamlText(model_type_);
    std::string out = "\nexample:\n";
    for (const auto& [name, value] : top) out += fmt::format("  {}: {}\n", name, value);
    for (const auto& [section, values] : nested) {
      out += fmt::format("  {}:\n", section);
      for (const auto& [name, value] : values) out += fmt::format("    {}: {}\n", name, value);
    }
    return out;
  }

  std::string Test(const NameTree& tree, const TreeWriter& writer) const {
    std::string path = writer.example_path();
    if (path.empty()) return "\ntests: []\n";
    const NameNode* node = tree.root.get();
    std::string concrete;
    for (size_t begin = 0; begin <= path.size();) {
      const size_t end = std::min(path.find('.', begin), path.size());
      const std::string segment = path.substr(begin, end - begin);
      node = node->Child(segment);
      std::string text = segment;
      if (segment[0] == '<')
        for (const InferredIndex& index : tree.indices)
          if (segment == "<" + index.name + ">")
            text =
                std::to_string(concrete.find('<') == std::string::npos && node->index == index.name
                                   ? First(tree, path)
                                   : index.from);
      concrete += (concrete.empty() ? "" : ".") + text;
      begin = end + 1;
    }
    return fmt::format(
        "\ntests:\n  - it: keeps a listed module in BF16\n    skip: [{0}]\n    expect:\n      {0}: "
        "{{scheme: bf16}}\n",
        concrete);
  }

  static uint32_t First(const NameTree& tree, const std::string& path) {
    const NameNode* node = tree.root.get();
    for (size_t begin = 0; begin <= path.size();) {
      const size_t end = std::min(path.find('.', begin), path.size());
      node = node->Child(path.substr(begin, end - begin));
      begin = end + 1;
    }
    return *node->present.begin();
  }

  // What other rule files say of such modules below such a parent, when all say the same.
  static Quantize WordOf(const std::string& path, const std::string& name,
                         const KnownModules& known) {
    std::string parent = path.substr(0, path.size() - std::min(path.size(), name.size() + 1));
    while (!parent.empty() && parent.back() == '>')
      parent.resize(parent.find_last_of('.') == parent.npos ? 0 : parent.find_last_of('.'));
    parent = parent.substr(parent.rfind('.') + 1);
    std::optional<Quantize> word;
    for (const KnownModule* module : known.Find(name, parent)) {
      if (module->parent != parent) break;  // those of other parents come last
      if (word && *word != module->quantize) return Quantize::kDefault;
      word = module->quantize;
    }
    return word.value_or(Quantize::kDefault);
  }

  // Linears that the config would quantize and every layer stores unquantized.
  QuantizeWords NeverQuantized(const std::string& yaml, const KnownModules& known) const {
    QuantizeWords words;
    Diagnostics ignored;
    const auto rules = ParseRuleFile("draft.yaml", yaml, &ignored);
    if (!rules) return words;
    const auto plan = MakePlanUnder(rules, book_, shared_, {1}, &ignored);
    if (!plan) return words;
    // Path → every module is stored unquantized, or in the scheme that no list can ask for.
    std::map<std::string, bool> always;
    std::map<std::string, std::set<std::string>> beside;
    for (const Group& group : plan->groups) {
      const Unit& unit = plan->decisions.units.units[static_cast<size_t>(group.unit)];
      if (!IsLinear(unit.kind)) continue;
      const Module& module = plan->decisions.modules[static_cast<size_t>(group.module)];
      const bool plain = module.claim > 0 && module.stored == 0;
      const SchemeRule* rule =
          module.stored > 0 ? plan->decisions.quant.schemes[static_cast<size_t>(module.stored)].rule
                            : nullptr;
      beside[unit.Display()].insert(rule != nullptr && rule->named ? rule->scheme : "");
      const auto at = always.try_emplace(unit.Display(), plain).first;
      at->second = at->second && (plain || module.stored == 0);
    }
    for (const auto& [path, schemes] : beside)
      if (schemes.size() == 1 && !schemes.begin()->empty())
        words[path] = fmt::format("{{as: {}}}", *schemes.begin());
    for (const auto& [path, plain] : always) {
      const std::string name = path.substr(path.rfind('.') + 1);
      const Quantize word = WordOf(path, name, known);
      const bool head = name.find("head") != std::string::npos;
      if (plain || (!quantized_ && word != Quantize::kDefault))
        words[path] = head || word == Quantize::kNamed ? "named" : "never";
    }
    return words;
  }

  const std::shared_ptr<const Checkpoint> shared_;
  const Checkpoint& checkpoint_;
  const Book& book_;
  Diagnostics* out_;
  std::string model_type_, section_name_;
  JsonValue section_;
  ConfigScope config_;
  bool quantized_ = false;
};

}  // namespace

std::optional<RuleDraft> InferRules(std::shared_ptr<const Checkpoint> checkpoint, const Book& book,
                                    Diagnostics* out) {
  return Drafter(std::move(checkpoint), book, out).Run();
}

}  // namespace ferrule
