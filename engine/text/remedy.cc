// SPDX-License-Identifier: Apache-2.0
#include "engine/text/remedy.h"

namespace ferrule {

std::string_view RemedyOf(Code code) {
  constexpr std::string_view kAnew =
      "download the file again and compare its checksum with the release's; if it is the same, "
      "what "
      "wrote the file is wrong";
  constexpr std::string_view kEither =
      "correct the rule if engines load the checkpoint; else its conversion is at fault";
  switch (code) {
    case Code::kYamlEmpty:
      return "write what the file is for, or remove it";
    case Code::kYamlSyntax:
      return "quote what begins with `*`, `{`, `[`, `@` or `%`, and indent with spaces";
    case Code::kYamlTag:
      return "remove the tag";
    case Code::kYamlLimit:
      return "make it smaller; `ferrule explain FR007` names the limits";
    case Code::kBadExpression:
      return "rules/README.md says what an expression may hold";
    case Code::kUnknownName:
      return "define it, or correct its spelling";
    case Code::kBadFused:
      return "name real linears beside it, each once";
    case Code::kUndeclaredPart:
      return "declare the part, or the fused name as `unified` if the checkpoint stores it";
    case Code::kConflictingKeys:
      return "keep one of them";
    case Code::kRenamedAgain:
      return "declare the longer root and rename it to the shorter one";
    case Code::kBadPattern:
      return "write a pattern that Python's `re` takes";
    case Code::kUnsupportedPattern:
    case Code::kPythonDiffers:
      return "write it otherwise, or list the names";
    case Code::kPatternCost:
      return "list fewer or simpler patterns, or names";
    case Code::kMissingTensor:
    case Code::kShapeMismatch:
    case Code::kMissingScale:
    case Code::kScaleShape:
    case Code::kScaleType:
    case Code::kOrphanScale:
    case Code::kUnexpectedType:
      return kEither;
    case Code::kEitherBoth:
      return "say with `when` which of them it is";
    case Code::kEitherNone:
      return "add an alternative for this config.json, or correct the conditions";
    case Code::kPartsDisagree:
    case Code::kExpertsDisagree:
      return "quantize all of them or none, in the checkpoint and in its list";
    case Code::kUnknownModule:
      return "`ferrule plan DIR --expand` lists the linears";
    case Code::kCannotRun:
      return "plan it here, and run it in an engine that has kernels for the scheme";
    case Code::kBadInput:
      return "give one BF16 or F32 tensor [tokens, in] under the path of each module";
    case Code::kCheckFailed:
      return "report it with the command and the machine";
    case Code::kNoRules:
      return "rules/README.md says how a model is described";
    case Code::kBadQuantConfig:
      return "correct the description in config.json, or take the file from the release again";
    case Code::kUnknownScheme:
      return "rules/dialects/README.md says how a scheme is described";
    case Code::kConfigLacks:
      return "correct config.json, or what the rule file reads of it";
    case Code::kTooLarge:
      return "correct the numbers in config.json, or the rules that multiply them";
    case Code::kModelTypeTwice:
      return "take the model_type out of one of the files";
    case Code::kPathTwice:
      return "remove one of the two";
    case Code::kNoTests:
      return "name rule files with a section `tests:` and, with --filter, a part of a sentence of "
             "one of their tests";
    case Code::kDialectTwice:
      return "take it out of one of the files, or let one say `when`";
    case Code::kClaimDiffers:
      return "correct the list of names in config.json to what is stored; `ferrule export DIR --to "
             "ENGINE@VERSION` writes one for an engine";
    case Code::kUnknownMethod:
      return "rules/dialects/README.md says how a method is described; --rules DIR reads "
             "DIR/dialects";
    case Code::kJsonSyntax:
      return "write the file anew as JSON in UTF-8, or download it again; `python3 -m json.tool "
             "FILE` reads it too";
    case Code::kJsonDuplicate:
      return "remove one of the two";
    case Code::kJsonLimit:
      return "remove what no reader of the file needs, or download the file again";
    case Code::kBadFileName:
      return "put all files into the checkpoint's directory, and name them in the index without a "
             "directory";
    case Code::kMissingFile:
      return "complete the download; if the release has no such file, take its name out of what "
             "names it";
    case Code::kIndexMismatch:
      return "download index and files again, of one revision of the release";
    case Code::kBadHeader:
    case Code::kBadOffsets:
    case Code::kBadDtype:
    case Code::kBadShape:
    case Code::kBadName:
      return kAnew;
    case Code::kBadFixture:
      return "write the fixture anew: `ferrule capture DIR OUT`";
    case Code::kNoConfig:
      return "name the directory that holds `config.json`, or complete the download";
    case Code::kRuntimeOtherwise:
      return "`ferrule export DIR --to ENGINE@VERSION` writes a list under which it decides as "
             "stored";
    case Code::kRuntimeRefuses:
      return "`ferrule matrix DIR --tp 1,2,4,8` shows which versions take the checkpoint, and at "
             "which sizes";
    case Code::kRuntimeUnknown:
      return "rules/runtimes/README.md says how it is described; `ferrule matrix DIR` shows the "
             "engines that are";
    case Code::kNotFound:
      return "check the spelling; a path without a leading `/` is below the working directory";
    case Code::kIo:
      return "mend what the operating system says of it (permissions, space, the disk), then run "
             "the command again";
    case Code::kInternal:
      return "report it with the command and the files";
    case Code::kUsage:
      return "see `ferrule --help`";
    default:
      return {};
  }
}

}  // namespace ferrule
