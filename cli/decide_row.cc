// SPDX-License-Identifier: Apache-2.0
#include "cli/decide_row.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/decide_description.h"
#include "engine/lists/name_match.h"
#include "engine/runtimes/emulation.h"

namespace ferrule::cli {
namespace {

bool Contains(const std::vector<std::string>& list, std::string_view text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

std::vector<std::string> Texts(const JsonValue& value) {
  std::vector<std::string> out;
  if (value.is_string()) out.emplace_back(value.Text());
  for (const JsonValue item : value) out.emplace_back(item.Text());
  return out;
}

// Answers as a version of a serving engine.
class RuntimeDecider final : public Decider {
 public:
  RuntimeDecider(RuntimeBook book, std::shared_ptr<const Runtime> runtime, Dialects dialects)
      : book_(std::move(book)), runtime_(std::move(runtime)), dialects_(std::move(dialects)) {}

  bool ReadHeader(const JsonValue& row) override {
    if (row.Find("fn") || (!row.Find("maps") && !row.Find("recorded"))) return false;
    for (const JsonValue map : row.Find("maps"))
      names_.maps.emplace_back(std::string(map.name()), ReadFusedMap(map));
    names_.mappers = row.Find("mappers");
    descriptions_ = row.Find("descriptions");
    for (const char* key : {"version", "also"})
      for (const std::string& version : Texts(row.Find(key))) header_.push_back(version);
    return true;
  }

  RowOutcome Ask(const JsonValue& row, const std::string& file, Diagnostics* out) override {
    RowOutcome outcome;
    if (!row.Find("fn").is_string()) {
      out->Add(Code::kJsonType, "a question to an engine needs `fn`, the name of its function",
               row.location())
          .Help(row.Find("module") ? "without --as ferrule itself answers rows with `module`"
                                   : "rules/runtimes/README.md says what a row may ask");
      outcome.kind = RowOutcome::Kind::kFailed;
      return outcome;
    }
    const std::string name(row.Find("fn").Text());
    if (name == "block_check") return AskBlocks(row, file, out);
    if (row.Find("description") && name == "get_quant_method") return AskWhole(row, file, out);
    const RuntimeFunction* function = runtime_->Find(name);
    if (function != nullptr && function->hidden) function = nullptr;
    if (!Covered(row, function)) return outcome;
    if (function == nullptr && book_.Knows(runtime_->engine, name)) return outcome;
    std::string why;
    const auto question = ReadRuntimeQuestion(row, names_, &why);
    if (!question || function == nullptr) {
      out->Add(Code::kBadInput,
               question ? fmt::format("{}@{} describes no function {}", runtime_->engine,
                                      runtime_->version, Quoted(name))
                        : why,
               {nullptr, file, 0, 0, 0, {}});
      outcome.kind = RowOutcome::Kind::kFailed;
      return outcome;
    }
    const RuntimeAnswer answer = Emulate(*runtime_, name, *question, &regexes_);
    Compare(row, answer, &outcome);
    return outcome;
  }

 private:
  // Rows name the releases or generations that they were recorded on, else the header does.
  bool Covered(const JsonValue& row, const RuntimeFunction* function) const {
    std::vector<std::string> versions = Texts(row.Find("gen_or_version"));
    for (const std::string& version : Texts(row.Find("version"))) versions.push_back(version);
    if (versions.empty()) {
      const auto known = [&](const std::string& version) {
        return std::any_of(book_.runtimes.begin(), book_.runtimes.end(), [&](const auto& other) {
          return other->engine == runtime_->engine && Covers(*other, nullptr, version);
        });
      };
      if (std::none_of(header_.begin(), header_.end(), known)) return true;
      versions = header_;
    }
    return std::any_of(versions.begin(), versions.end(), [&](const std::string& version) {
      return Covers(*runtime_, function, version);
    });
  }

  static bool Covers(const Runtime& runtime, const RuntimeFunction* function,
                     const std::string& version) {
    return version == runtime.version || Contains(runtime.covers, version) ||
           (function != nullptr && Contains(function->covers, version));
  }

  void Compare(const JsonValue& row, const RuntimeAnswer& answer, RowOutcome* out) const {
    using Kind = RowOutcome::Kind;
    std::vector<std::string> answered = {"result", "error"};
    std::string more = fmt::format("\"result\":{}", JsonText(answer.result));
    if (!answer.error.empty()) more += fmt::format(",\"error\":{}", JsonText(answer.error));
    const JsonValue result = row.Find("result");
    bool right = result && answer.result == result.Text() &&
                 ErrorClass(answer.error) == ErrorClass(row.Find("error").Text());
    size_t compared = 0;
    for (const auto& [name, json] : answer.fields) {
      answered.push_back(name);
      more += fmt::format(",{}:{}", JsonText(name), json);
      const JsonValue expected = row.Find(name);
      if (expected) ++compared;
      right = right && (!expected || Same(expected, json));
    }
    if (answer.result == "ok" && compared == 0 && row.Find("fn").Text() != "block_check" &&
        !row.Find("description"))
      right = false;
    out->why = answer.error;
    out->answer = answer.result;
    out->expected = result.Text();
    if (answer.result == "unsupported" && IsInexpressible(answer.error))
      out->kind = Kind::kUnsupported;
    else
      out->kind = !result ? Kind::kAnswered : right ? Kind::kPassed : Kind::kFailed;
    if (out->kind == Kind::kFailed && IsKnown(row)) out->kind = Kind::kKnown;
    if (out->kind == Kind::kFailed || out->kind == Kind::kKnown) {
      more += ",\"expected\":{";
      bool first = true;
      for (const std::string& name : answered) {
        if (!row.Find(name)) continue;
        more += fmt::format("{}{}:{}", first ? "" : ",", JsonText(name), row.Find(name).ToString());
        first = false;
      }
      more += "}";
    }
    out->line = AnsweredLine(row, answered, more);
  }

  // A description: which function is asked follows from it.
  RowOutcome AskWhole(const JsonValue& row, const std::string& file, Diagnostics* out) {
    RowOutcome outcome;
    if (!Covered(row, nullptr)) return outcome;
    std::string why;
    const auto answer =
        AskDescription(row, descriptions_, names_, dialects_, *runtime_, &regexes_, &why);
    if (!answer) {
      out->Add(Code::kBadInput, why, {nullptr, file, 0, 0, 0, {}})
          .Help("rules/runtimes/README.md says what a row may ask");
      outcome.kind = RowOutcome::Kind::kFailed;
      return outcome;
    }
    Compare(row, *answer, &outcome);
    // A refusal of the whole is compared by its words, as far as they were recorded.
    const std::string_view error = row.Find("error").Text();
    if (!row.Find("prefix") && outcome.kind == RowOutcome::Kind::kPassed &&
        !HasPrefix(error, answer->error))
      outcome.kind = RowOutcome::Kind::kFailed;
    return outcome;
  }

  // A layer's sizes on one rank: is it refused?
  RowOutcome AskBlocks(const JsonValue& row, const std::string& file, Diagnostics* out) const {
    RowOutcome outcome;
    const auto size = [&](const char* key) { return row.Find(key).AsInt().value_or(0); };
    BlockShape shape;
    shape.tp = std::max<int64_t>(1, size("tp"));
    shape.inner = size("inner");
    shape.experts = shape.inner > 0;
    shape.columns = size("columns");
    shape.columns_per_rank = size("columns_per_rank");
    shape.rows = size("rows");
    shape.rows_per_rank = size("rows_per_rank");
    for (const JsonValue part : row.Find("parts")) shape.parts.push_back(part.AsInt().value_or(0));
    shape.allowed = row.Find("allowed").AsBool().value_or(false);
    shape.block_rows = row.Find("block")[0].AsInt().value_or(0);
    shape.block_columns = row.Find("block")[1].AsInt().value_or(0);
    const bool sound = shape.block_rows > 0 && shape.block_columns > 0 &&
                       (shape.experts || (shape.columns_per_rank > 0 && shape.rows_per_rank > 0));
    if (!sound || !runtime_->block_check) {
      out->Add(
          Code::kBadInput,
          sound ? fmt::format("{}@{} describes no block check", runtime_->engine, runtime_->version)
                : "a block check needs `block` and the sizes of one rank, all above 0",
          {nullptr, file, 0, 0, 0, {}});
      outcome.kind = RowOutcome::Kind::kFailed;
      return outcome;
    }
    const auto refusal = Refusal(*runtime_->block_check, shape);
    RuntimeAnswer answer;
    answer.result = refusal ? "error" : "ok";
    if (refusal) answer.error = "ValueError: " + *refusal;
    Compare(row, answer, &outcome);
    // The message counts too: it is what a user searches for.
    if (row.Find("error") && row.Find("error").Text() != answer.error)
      outcome.kind = RowOutcome::Kind::kFailed;
    return outcome;
  }

  // Whether the runtime file lists this row as one where it differs from the recording.
  bool IsKnown(const JsonValue& row) const {
    const auto& known = runtime_->known_differences;
    return std::any_of(known.begin(), known.end(), [&](const KnownDifference& difference) {
      return difference.function == row.Find("fn").Text() &&
             difference.prefix == row.Find("prefix").Text();
    });
  }

  // Equal, objects whatever their order.
  static bool Same(const JsonValue& expected, const std::string& json) {
    Diagnostics scratch;
    const auto ours = ParseJson("", json, {}, &scratch);
    return ours && *ours == expected;
  }

  RuntimeBook book_;
  std::shared_ptr<const Runtime> runtime_;
  Dialects dialects_;
  RuntimeNames names_;
  JsonValue descriptions_;
  std::vector<std::string> header_;
  PythonRegexes regexes_;
};

}  // namespace

std::string AnsweredLine(const JsonValue& row, const std::vector<std::string>& answered,
                         const std::string& more) {
  std::string line = "{";
  for (const JsonValue member : row)
    if (!Contains(answered, member.name()))
      line += fmt::format("{}:{},", JsonText(member.name()), member.ToString());
  return line + more + "}";
}

std::string ErrorClass(std::string_view text) {
  text = text.substr(0, text.find(':'));
  return std::string(text.substr(text.rfind('.') + 1));
}

std::unique_ptr<Decider> MakeDecider(const Common& common, const std::string& as,
                                     Diagnostics* out) {
  std::vector<std::string> directories = {DefaultRules()};
  directories.insert(directories.end(), common.rules.begin(), common.rules.end());
  auto book = LoadRuntimes(directories, out);
  if (!book) return nullptr;
  if (as.empty()) return MakeOwnDecider(common, std::move(*book), out);
  auto runtime = book->Find(as, out);
  if (runtime == nullptr) return nullptr;
  auto rules = ReadBook(common, {}, out);
  if (!rules) return nullptr;
  return std::make_unique<RuntimeDecider>(std::move(*book), std::move(runtime),
                                          std::move(rules->dialects));
}

}  // namespace ferrule::cli
