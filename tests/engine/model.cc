// SPDX-License-Identifier: Apache-2.0
#include "tests/engine/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "tests/catch.h"

namespace ferrule::test {
namespace {

const std::string& RulesDirectory() {
  static const std::string directory = FERRULE_TEST_DATA "/../rules";
  return directory;
}

Planned Finish(Planned planned) {
  INFO(ToHuman(planned.out, false));
  REQUIRE(planned.plan);
  return planned;
}

}  // namespace

std::string FixturePath(std::string_view name) {
  return fmt::format("{}/fixtures/{}", FERRULE_TEST_DATA, name);
}

std::vector<std::string> FixturesWith(std::string_view file) {
  const std::filesystem::path root = FixturePath("");
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root))
    if (entry.path().filename() == file)
      names.push_back(entry.path().parent_path().lexically_relative(root).string());
  std::sort(names.begin(), names.end());
  return names;
}

const Book& SourceBook() {
  static const Book book = [] {
    Diagnostics out;
    BookOptions options;
    options.directories = {RulesDirectory()};
    std::optional<Book> loaded = LoadBook(options, &out);
    INFO(ToHuman(out, false));
    REQUIRE(loaded);
    REQUIRE_FALSE(out.has_errors());
    return std::move(*loaded);
  }();
  return book;
}

std::shared_ptr<const Dialect> DialectNamed(std::string_view name) {
  for (const auto& dialect : SourceBook().dialects)
    if (dialect->name == name) return dialect;
  FAIL("no dialect " << std::string(name));
  return nullptr;
}

std::string RuleText(std::string_view file,
                     const std::vector<std::pair<std::string, std::string>>& replace) {
  std::ifstream in(fmt::format("{}/{}", RulesDirectory(), file));
  REQUIRE(in);
  std::stringstream read;
  read << in.rdbuf();
  std::string text = read.str();
  for (const auto& [from, to] : replace) {
    const size_t at = text.find(from);
    INFO(from);
    REQUIRE(at != std::string::npos);
    text.replace(at, from.size(), to);
  }
  return text;
}

Book BookWith(const std::string& rule_text) {
  Book book = SourceBook();
  Diagnostics out;
  const auto file = ParseRuleFile("test.yaml", rule_text, &out);
  INFO(ToHuman(out, false));
  REQUIRE(file);
  for (const std::string& type : file->model_types) book.by_model_type[type] = file;
  book.files.push_back(file);
  return book;
}

JsonValue Json(const std::string& text) {
  Diagnostics out;
  const std::optional<JsonValue> value = ParseJson("config.json", text, {}, &out);
  INFO(text << "\n" << ToHuman(out, false));
  REQUIRE(value);
  return *value;
}

std::string JsonList(const std::vector<std::string>& texts) {
  std::vector<std::string> quoted;
  for (const std::string& text : texts) quoted.push_back(JsonText(text));
  return fmt::format("[{}]", fmt::join(quoted, ", "));
}

std::string Fp8(const std::vector<std::string>& list) {
  return fmt::format(R"({{"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3", )"
                     R"("weight_block_size": [128, 128], "modules_to_not_convert": {}}})",
                     JsonList(list));
}

std::string Channel(const std::vector<std::string>& ignore) {
  return fmt::format(
      R"({{"quant_method": "compressed-tensors", "config_groups": {{"group_0": {{)"
      R"("targets": ["Linear"], "weights": {{"num_bits": 8, "type": "float", "strategy": )"
      R"("channel"}}, "input_activations": {{"dynamic": true}}}}}}, "ignore": {}}})",
      JsonList(ignore));
}

Model Model::Of(std::string_view fixture) {
  Diagnostics out;
  const std::optional<Checkpoint> checkpoint = OpenCheckpoint(FixturePath(fixture), &out);
  INFO(ToHuman(out, false));
  REQUIRE(checkpoint);
  Model model;
  for (const JsonValue value : checkpoint->config)
    model.config[std::string(value.name())] = value.ToString();
  if (checkpoint->quantization_config)
    model.config["quantization_config"] = checkpoint->quantization_config.ToString();
  for (const Tensor& tensor : checkpoint->tensors()) {
    const std::span<const int64_t> shape = checkpoint->shape(tensor);
    model.tensors[std::string(tensor.name)] = {tensor.dtype, {shape.begin(), shape.end()}};
  }
  model.headers = checkpoint->has_headers;
  return model;
}

void Model::Move(const std::string& from, const std::string& to) {
  const auto node = tensors.find(from);
  INFO(from);
  REQUIRE(node != tensors.end());
  tensors[to] = node->second;
  tensors.erase(from);
}

std::shared_ptr<const Checkpoint> Model::Build() const {
  auto checkpoint = std::make_shared<Checkpoint>();
  std::vector<std::string> members;
  for (const auto& [key, text] : config) members.push_back(JsonText(key) + ": " + text);
  checkpoint->directory = "model";
  checkpoint->config = Json(fmt::format("{{{}}}", fmt::join(members, ",\n")));
  const JsonValue quant = checkpoint->config.Find("quantization_config");
  if (quant && !quant.is_null()) checkpoint->quantization_config = quant;
  if (!headers) return checkpoint;
  checkpoint->has_headers = true;
  checkpoint->files = {"tensors.json"};
  TensorTable& table = checkpoint->table;
  for (const auto& [name, stored] : tensors) {
    Tensor tensor;
    tensor.name = table.names.Copy(name);
    tensor.dtype = stored.dtype;
    tensor.rank = static_cast<uint8_t>(stored.shape.size());
    tensor.shape_at = static_cast<uint32_t>(table.dims.size());
    table.dims.insert(table.dims.end(), stored.shape.begin(), stored.shape.end());
    table.tensors.push_back(tensor);
  }
  checkpoint->names = TableOfNames(table.tensors);
  REQUIRE(checkpoint->names.Seal().empty());
  return checkpoint;
}

std::vector<const Finding*> Planned::All(Code code) const {
  std::vector<const Finding*> found;
  for (const Finding& finding : out.findings())
    if (finding.code == code) found.push_back(&finding);
  return found;
}

const Finding& Planned::Only(Code code) const {
  const std::vector<const Finding*> found = All(code);
  INFO(CodeName(code) << " in\n" << ToHuman(out, false));
  REQUIRE(found.size() == 1);
  return *found[0];
}

std::string Planned::Codes() const {
  std::set<std::string> names;
  for (const Finding& finding : out.findings())
    if (finding.level != Level::kNote) names.insert(CodeName(finding.code));
  return fmt::format("{}", fmt::join(names, " "));
}

const Module& Planned::At(std::string_view path) const {
  const int32_t module = plan->Find(path);
  INFO(std::string(path));
  REQUIRE(module >= 0);
  return plan->decisions.modules[static_cast<size_t>(module)];
}

std::string Planned::Scheme(std::string_view path) const {
  const int32_t id = plan->Find(path);
  if (id < 0) return "?";
  const Module& module = plan->decisions.modules[static_cast<size_t>(id)];
  if (module.absent) return "absent";
  return module.scheme < 0 ? "none" : plan->SchemeName(module.scheme);
}

Planned PlanOf(const Book& book, const Model& model, int tp) {
  Planned planned;
  planned.plan = MakePlan(book, model.Build(), {tp}, &planned.out);
  return Finish(std::move(planned));
}

Planned PlanOf(const Model& model, int tp) { return PlanOf(SourceBook(), model, tp); }

Planned PlanUnder(const std::string& rule_text, const Model& model, int tp) {
  Planned planned;
  Diagnostics parsing;
  const auto rules = ParseRuleFile("wrong.yaml", rule_text, &parsing);
  INFO(ToHuman(parsing, false));
  REQUIRE(rules);
  planned.plan = MakePlanUnder(rules, SourceBook(), model.Build(), {tp}, &planned.out);
  return Finish(std::move(planned));
}

Planned PlanOfFixture(std::string_view name, int tp) {
  Planned planned;
  auto checkpoint = OpenCheckpoint(FixturePath(name), &planned.out);
  INFO(ToHuman(planned.out, false));
  REQUIRE(checkpoint);
  planned.plan = MakePlan(SourceBook(), std::make_shared<const Checkpoint>(std::move(*checkpoint)),
                          {tp}, &planned.out);
  return Finish(std::move(planned));
}

std::string FactOf(const Finding& finding, std::string_view key) {
  for (const auto& [name, text] : finding.facts)
    if (name == key) return text;
  return {};
}

}  // namespace ferrule::test
