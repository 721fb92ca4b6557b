// SPDX-License-Identifier: Apache-2.0
#include "cli/usage.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "engine/rules/partition.h"

namespace ferrule::cli {
namespace {

// The command that was named, or the program.
const CLI::App& Named(const CLI::App& app) {
  const auto commands = app.get_subcommands();
  return commands.empty() ? app : *commands[0];
}

std::vector<std::string> CommandNames(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(command->get_name());
  return names;
}

std::string SeeHelp(const CLI::App& app) {
  const CLI::App& named = Named(app);
  return &named == &app ? "see `ferrule --help`"
                        : fmt::format("see `ferrule {} --help`", named.get_name());
}

std::string NearestOption(const CLI::App& app, const std::string& word) {
  std::vector<std::string> known;
  for (const CLI::App* from : {&app, &Named(app)})
    for (const CLI::Option* option : from->get_options())
      for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
  return NearestName(word, known);
}

// A word that nothing takes: a wrong command, a wrong option or a word too many.
Finding Unexpected(const CLI::App& app, const std::string& word) {
  const CLI::App& named = Named(app);
  const bool option = word.size() > 1 && word[0] == '-';
  if (option) {
    const std::string name = word.substr(0, word.find('='));
    Finding finding(Code::kUsage,
                    &named == &app
                        ? fmt::format("there is no option {}", Quoted(name))
                        : fmt::format("`{}` has no option {}", named.get_name(), Quoted(name)));
    if (named.get_option_no_throw(name) != nullptr) {
      finding.message = fmt::format("{} stands before its command", Quoted(name));
      finding.Help(fmt::format("write it behind `{}`", named.get_name()));
      return finding;
    }
    const std::string nearest = NearestOption(app, name);
    finding.Help(nearest.empty() ? SeeHelp(app) : fmt::format("did you mean `{}`?", nearest));
    return finding;
  }
  if (&named != &app) {
    Finding finding(Code::kUsage, fmt::format("{} is one word too many for `{}`", Quoted(word),
                                              named.get_name()));
    finding.Help(SeeHelp(app));
    return finding;
  }
  Finding finding(Code::kUsage, fmt::format("there is no command {}", Quoted(word)));
  const std::string nearest = NearestName(word, CommandNames(app));
  finding.Help(nearest.empty()
                   ? fmt::format("the commands are {}", fmt::join(CommandNames(app), ", "))
                   : fmt::format("did you mean `{}`?", nearest));
  return finding;
}

bool IsNumber(const std::string& word, int64_t least, int64_t most) {
  int64_t value = 0;
  const char* end = word.data() + word.size();
  const auto [at, error] = std::from_chars(word.data(), end, value);
  return error == std::errc() && at == end && value >= least && value <= most;
}

std::string NoNumber(const std::string& word, int64_t least, int64_t most) {
  return fmt::format("is a whole number from {} to {}, not {}", least, most, Quoted(word));
}

// Between any two commas a word, also an empty one.
std::vector<std::string> AtCommas(const std::string& words) {
  std::vector<std::string> split;
  size_t at = 0;
  for (size_t comma; (comma = words.find(',', at)) != std::string::npos; at = comma + 1)
    split.push_back(words.substr(at, comma - at));
  split.push_back(words.substr(at));
  return split;
}

}  // namespace

CLI::Validator WholeNumber(int64_t least, int64_t most) {
  return CLI::Validator(
      [=](std::string& word) {
        return IsNumber(word, least, most) ? "" : NoNumber(word, least, most);
      },
      "");
}

CLI::Validator TpNumber() {
  return CLI::Validator(
      [](std::string& word) {
        return IsNumber(word, INT32_MIN, INT32_MAX) ? "" : NoNumber(word, 1, kMaxTp);
      },
      "");
}

CLI::Validator TpNumbers() {
  return CLI::Validator(
      [](std::string& words) -> std::string {
        for (const std::string& word : AtCommas(words))
          if (!IsNumber(word, INT32_MIN, INT32_MAX)) return NoNumber(word, 1, kMaxTp);
        return {};
      },
      "");
}

std::vector<int> ReadTpNumbers(const std::vector<std::string>& given) {
  std::vector<int> numbers;
  for (const std::string& words : given)
    for (const std::string& word : AtCommas(words)) {
      numbers.push_back(0);
      std::from_chars(word.data(), word.data() + word.size(), numbers.back());
    }
  return numbers;
}

CLI::Validator OneOf(std::vector<std::string> words) {
  return CLI::Validator(
      [words = std::move(words)](std::string& word) -> std::string {
        if (std::find(words.begin(), words.end(), word) != words.end()) return {};
        return fmt::format("is one of {}, not {}", fmt::join(words, ", "), Quoted(word));
      },
      "");
}

CLI::Validator NameOf(const char* what) {
  return CLI::Validator(
      [what](std::string& word) -> std::string {
        if (!word.empty() && word != "-") return {};
        return fmt::format("is the name of a {}, not {}{}", what, Quoted(word),
                           word.empty() ? "" : fmt::format(" (one of that name is `./{}`)", word));
      },
      "");
}

Finding Explain(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<std::string> rest = app.remaining(true);
  const std::string text = error.what();
  Finding finding(Code::kUsage, text);
  finding.Help(SeeHelp(app));
  // "NAME: reason"
  const size_t colon = text.find(": ");
  const std::string name = text.substr(0, colon);
  if (dynamic_cast<const CLI::ValidationError*>(&error) != nullptr && colon != std::string::npos) {
    finding.message = fmt::format("`{}` {}", name, text.substr(colon + 2));
  } else if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr &&
             colon != std::string::npos) {
    const auto given = Named(app).get_option_no_throw(name);
    const auto general = app.get_option_no_throw(name);
    const CLI::Option* option = given != nullptr ? given : general;
    const bool again = option != nullptr && option->count() > 1;
    finding.message =
        fmt::format("`{}` {}", name, again ? "is given more than once" : "needs a value");
    if (again && option->get_positional() && option->nonpositional()) {
      finding.message += fmt::format(": `{}` is the same", option->get_name(true));
      finding.Help("name it once");
    }
  } else if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr && rest.empty()) {
    const CLI::App& named = Named(app);
    if (&named == &app) {
      finding.message = "a command is missing";
      finding.Help(
          fmt::format("the commands are {}; {}", fmt::join(CommandNames(app), ", "), SeeHelp(app)));
    } else {
      finding.message =
          fmt::format("`{}` needs {}", named.get_name(), text.substr(0, text.find(' ')));
    }
  } else if (!rest.empty()) {
    return Unexpected(app, rest[0]);
  }
  return finding;
}

bool AsksForJson(int argc, char** argv) {
  bool json = false;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const std::string next = i + 1 < argc ? argv[i + 1] : "";
    if (word == "--") break;
    if (word == "-f" || word == "--format") json = next == "json";
    if (word == "-fjson" || word == "--format=json") json = true;
  }
  return json;
}

}  // namespace ferrule::cli
