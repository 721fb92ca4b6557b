// SPDX-License-Identifier: Apache-2.0
#include "engine/lists/quant_config.h"

#include <fmt/format.h>

#include "tests/catch.h"
#include "tests/engine/model.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

std::optional<QuantConfig> ReadText(const std::string& text, Diagnostics* out) {
  return ReadQuantConfig(Json(text), SourceBook().dialects, {}, out);
}

// Schemes and list in a line, or the first finding as "FR603: message". Notes are left out.
std::string Read(const std::string& text) {
  Diagnostics out;
  const auto quant = ReadText(text, &out);
  if (!quant) {
    REQUIRE_FALSE(out.findings().empty());
    return CodeName(out.findings()[0].code) + ": " + out.findings()[0].message;
  }
  CHECK(out.findings().size() == out.count(Level::kNote));
  std::string line;
  for (size_t s = 1; s < quant->schemes.size(); ++s) {
    const Scheme& scheme = quant->schemes[s];
    if (scheme.rule->named) continue;  // only a rule file asks for it
    line += scheme.name;
    if (scheme.block_n > 0) line += fmt::format(" {}x{}", scheme.block_n, scheme.block_k);
    line += fmt::format(" {}", ActivationName(scheme.rule->activation));
    line += scheme.power_of_two ? " pow2" : "";
    line += scheme.executed() ? "; " : " (not run); ";
  }
  return line + fmt::format("{} [{}]", quant->list_key, quant->list.size());
}

// An fp8 config with these members besides the method.
std::string With(const std::string& members) {
  return Read(R"({"quant_method": "fp8")" + (members.empty() ? "" : ", " + members) + "}");
}

const std::string kBlocks = R"("weight_block_size": [128, 128])";

// A compressed-tensors config with one group of these weights and activations.
std::string OneGroup(const std::string& weights, const std::string& activations,
                     const std::string& more = R"(, "targets": ["Linear"])") {
  return Read(
      R"({"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": )" +
      weights + R"(, "input_activations": )" + activations + more + R"(}}, "ignore": []})");
}

}  // namespace

TEST_CASE("without a quantization_config nothing is quantized") {
  Diagnostics out;
  for (const JsonValue& config : {JsonValue(), Json("null")}) {
    const auto quant = ReadQuantConfig(config, SourceBook().dialects, {}, &out);
    REQUIRE(quant);
    CHECK(quant->dialect == nullptr);
    CHECK(quant->schemes.size() == 1);
    CHECK(quant->schemes[0].name == "bf16");
    CHECK(quant->list.size() == 0);
  }
  CHECK(out.findings().empty());
}

TEST_CASE("a config that names no method, or one that nobody claims, is never read as BF16") {
  CHECK(Read("[]") == "FR603: quantization_config must be an object, not a list");
  CHECK(Read("{}") == "FR602: quantization_config names no quant_method");
  CHECK(Read(R"({"bits": 4})") == "FR602: quantization_config names no quant_method");
  CHECK(Read(R"({"quant_method": null})") == "FR602: quantization_config names no quant_method");
  CHECK(Read(R"({"quant_method": "hqq"})") ==
        "FR602: no dialect claims the quantization method `hqq`");
  CHECK(Read(R"({"quant_method": "FP8"})") ==
        "FR602: no dialect claims the quantization method `FP8`");
  Diagnostics out;
  REQUIRE_FALSE(ReadText(R"({"quant_method": "hqq"})", &out));
  const std::string known = FactOf(out.findings()[0], "known");
  for (const char* method : {"compressed-tensors", "fp8", "modelopt", "mxfp4", "awq", "gptq"})
    CHECK(known.find(method) != std::string::npos);
}

TEST_CASE("fp8: what the keys make of it") {
  CHECK(With(kBlocks) == "fp8_block 128x128 group;  [0]");
  CHECK(With(kBlocks + R"(, "activation_scheme": "dynamic", "fmt": "e4m3")") ==
        "fp8_block 128x128 group;  [0]");
  CHECK(With(kBlocks + R"(, "scale_fmt": "ue8m0")") == "fp8_block 128x128 group pow2;  [0]");
  CHECK(With(kBlocks + R"(, "scale_fmt": null)") == "fp8_block 128x128 group;  [0]");
  CHECK(With(R"("weight_block_size": [64, 32])") == "fp8_block 64x32 group;  [0]");
  CHECK(With(R"("weight_block_size": null)") == "fp8_tensor token;  [0]");
  CHECK(With("") == "fp8_tensor token;  [0]");
  CHECK(With(R"("activation_scheme": "dynamic")") == "fp8_tensor token;  [0]");
  CHECK(With(R"("activation_scheme": "static")") == "fp8_tensor static;  [0]");
}

TEST_CASE("fp8: a value that is not understood is refused by its key") {
  CHECK(With(kBlocks + R"(, "fmt": "e5m2")") ==
        "FR603: `fmt` is `e5m2`; dialect `fp8` knows e4m3, float8_e4m3fn");
  CHECK(With(kBlocks + R"(, "fmt": 3)") ==
        "FR603: `fmt` is a whole number; dialect `fp8` knows e4m3, float8_e4m3fn");
  CHECK(With(kBlocks + R"(, "scale_fmt": "e8m23")") ==
        "FR603: `scale_fmt` is `e8m23`; dialect `fp8` knows ue8m0");
  CHECK(With(kBlocks + R"(, "activation_scheme": "none")") ==
        "FR603: `activation_scheme` is `none`; dialect `fp8` knows dynamic, static");
  CHECK(With(kBlocks + R"(, "activation_scheme": "static")").substr(0, 54) ==
        "FR605: dialect `fp8` knows no such combination: `{\"qua");
}

TEST_CASE("fp8: block sizes of every wrong kind") {
  for (const char* block :
       {"[0,128]", "[128,0]", "[-1,128]", "[128]", "[]", "[128,128,128]", "128", "true",
        "[128.5,128]", "[128.0,128]", "[1099511627776,1]", "[65537,128]", "[\"128\",\"128\"]",
        "\"128\"", "[true,true]", "[null,128]", "{}", "[18446744073709551615,1]", "[[128,128]]"}) {
    INFO(block);
    const std::string refusal = With(std::string(R"("weight_block_size": )") + block);
    const std::string expected =
        "FR603: `weight_block_size` must be two positive integers up to 65536, [rows, columns], "
        "not `";
    CHECK(refusal.substr(0, expected.size()) == expected);
    CHECK(refusal.size() > expected.size() + 2);
  }
  CHECK(
      With(R"("weight_block_size": [0, 128])") ==
      "FR603: `weight_block_size` must be two positive integers up to 65536, [rows, columns], not "
      "`[0,128]`");
  CHECK(With(R"("weight_block_size": [65536, 1])") == "fp8_block 65536x1 group;  [0]");
}

TEST_CASE("fp8: the list, under either of its keys") {
  const auto list = [](const std::string& members) { return With(kBlocks + ", " + members); };
  const std::string head = "fp8_block 128x128 group; ";
  CHECK(list(R"("modules_to_not_convert": ["a", "b"])") == head + "modules_to_not_convert [2]");
  CHECK(list(R"("ignored_layers": ["a"])") == head + "ignored_layers [1]");
  CHECK(list(R"("modules_to_not_convert": null)") == head + " [0]");
  CHECK(list(R"("modules_to_not_convert": [])") == head + "modules_to_not_convert [0]");
  CHECK(list(R"("modules_to_not_convert": null, "ignored_layers": ["a"])") ==
        head + "ignored_layers [1]");
  CHECK(list(R"("modules_to_not_convert": ["a", "b"], "ignored_layers": ["b", "a"])") ==
        head + "modules_to_not_convert [2]");
  CHECK(list(R"("modules_to_not_convert": ["a", "b"], "ignored_layers": ["a"])") ==
        "FR604: `modules_to_not_convert` and `ignored_layers` differ: 2 and 1 entries");
  CHECK(list(R"("modules_to_not_convert": ["a"], "ignored_layers": [])") ==
        "FR604: `modules_to_not_convert` and `ignored_layers` differ: 1 and 0 entries");
  CHECK(list(R"("ignored_layers": ["b"], "modules_to_not_convert": ["a"])") ==
        "FR604: `modules_to_not_convert` and `ignored_layers` differ: 1 and 1 entries");
  CHECK(list(R"("modules_to_not_convert": "lm_head")") ==
        "FR603: `modules_to_not_convert` must be a list of texts, not text");
  CHECK(list(R"("modules_to_not_convert": {"a": 1})") ==
        "FR603: `modules_to_not_convert` must be a list of texts, not an object");
  CHECK(list(R"("modules_to_not_convert": ["a", 3])") ==
        "FR603: an item of `modules_to_not_convert` must be a text, not a whole number");
  CHECK(list(R"("modules_to_not_convert": [null])") ==
        "FR603: an item of `modules_to_not_convert` must be a text, not null");
  CHECK(list(R"("modules_to_not_convert": [["a"]])") ==
        "FR603: an item of `modules_to_not_convert` must be a text, not a list");
  CHECK(list(R"("modules_to_not_convert": ["a"], "ignored_layers": [1])") ==
        "FR603: an item of `ignored_layers` must be a text, not a whole number");
  CHECK(list(R"("modules_to_not_convert": ["re:.*gate"])") ==
        "FR204: `re:.*gate` is a pattern, and lists of dialect `fp8` hold plain names");
}

TEST_CASE("a wrong item of a list is shown where it stands") {
  Diagnostics out;
  REQUIRE_FALSE(ReadText(R"({"quant_method": "fp8", "modules_to_not_convert": ["a", 3]})", &out));
  CHECK(out.findings()[0].at.ToString() == "config.json#/modules_to_not_convert/1");
}

TEST_CASE("compressed-tensors: groups and what they are stored as") {
  const std::string dynamic = R"({"dynamic": true})", fixed = R"({"dynamic": false})";
  const auto weights = [](const char* type, int bits, const std::string& more) {
    return fmt::format(R"({{"type": "{}", "num_bits": {}{}}})", type, bits, more);
  };
  const std::string channel = R"(, "strategy": "channel")", tensor = R"(, "strategy": "tensor")";
  CHECK(OneGroup(weights("float", 8, channel), dynamic) == "fp8_channel token; ignore [0]");
  CHECK(OneGroup(weights("float", 8, tensor), dynamic) == "fp8_tensor token; ignore [0]");
  CHECK(OneGroup(weights("float", 8, tensor), fixed) == "fp8_tensor static; ignore [0]");
  CHECK(OneGroup(weights("float", 8, R"(, "strategy": "block", "block_structure": [128, 64])"),
                 dynamic) == "fp8_block 128x64 group; ignore [0]");
  CHECK(OneGroup(weights("int", 4, R"(, "strategy": "group", "group_size": 32)"), "null") ==
        "int4 none (not run); ignore [0]");
  CHECK(OneGroup(weights("int", 8, channel), dynamic) == "int8 none (not run); ignore [0]");
  CHECK(OneGroup(weights("float", 4, R"(, "group_size": 16)"), dynamic) ==
        "nvfp4 none (not run); ignore [0]");
  CHECK(OneGroup(weights("float", 4, R"(, "group_size": 32)"), dynamic) ==
        "mxfp4 none (not run); ignore [0]");
}

TEST_CASE("compressed-tensors: combinations that are unknown, and groups that cannot be") {
  const std::string dynamic = R"({"dynamic": true})";
  const std::string unknown = "FR605: dialect `compressed-tensors` knows no such combination: `{";
  for (const char* weights : {R"({"type": "float", "num_bits": 6, "strategy": "channel"})",
                              R"({"type": "float", "num_bits": 8, "strategy": "group"})",
                              R"({"type": "float", "num_bits": 8})", R"({"num_bits": 8})", "{}",
                              "null", R"({"type": "int", "num_bits": 3})",
                              R"({"type": "float", "num_bits": 4, "group_size": 64})",
                              R"({"type": "float", "num_bits": "8", "strategy": "channel"})"}) {
    INFO(weights);
    CHECK(OneGroup(weights, dynamic).substr(0, unknown.size()) == unknown);
  }
  const std::string channel = R"({"type": "float", "num_bits": 8, "strategy": "channel"})";
  CHECK(OneGroup(channel, R"({"dynamic": false})").substr(0, unknown.size()) == unknown);
  CHECK(OneGroup(channel, "null").substr(0, unknown.size()) == unknown);
  CHECK(OneGroup(R"({"type": "float", "num_bits": 8, "strategy": "block"})", dynamic) ==
        "FR603: `weights.block_structure` must be two positive integers up to 65536, [rows, "
        "columns], "
        "not absent");
  CHECK(OneGroup(channel, dynamic, "") == "FR603: a group without `targets` applies to nothing");
  CHECK(OneGroup(channel, dynamic, R"(, "targets": [])") ==
        "FR603: a group without `targets` applies to nothing");
  CHECK(OneGroup(channel, dynamic, R"(, "targets": "Linear")") ==
        "FR603: `targets` must be a list of texts, not text");
  CHECK(OneGroup(channel, dynamic, R"x(, "targets": ["re:(?=a)"])x") ==
        "FR202: RE2 cannot express look-ahead in `(?=a)`");
  const auto groups = [](const std::string& text) {
    return Read(R"({"quant_method": "compressed-tensors", "config_groups": )" + text + "}");
  };
  const std::string must = "FR603: `config_groups` must be an object with at least one group";
  CHECK(groups("{}") == must);
  CHECK(groups("[]") == must);
  CHECK(groups("null") == must);
  CHECK(Read(R"({"quant_method": "compressed-tensors"})") == must);
  CHECK(groups(R"({"group_0": 1})") == "FR603: a group must be an object, not a whole number");
}

TEST_CASE("compressed-tensors: everything may be a target, nothing may be everything in the list") {
  const std::string channel = R"({"type": "float", "num_bits": 8, "strategy": "channel"})";
  CHECK(OneGroup(channel, R"({"dynamic": true})", R"(, "targets": ["re:.*"])") ==
        "fp8_channel token; ignore [0]");
  const auto ignore = [&](const std::string& list) {
    return Read(
        R"({"quant_method": "compressed-tensors", "config_groups": {"g": {"targets": ["Linear"], "weights": )" +
        channel + R"(, "input_activations": {"dynamic": true}}}, "ignore": )" + list + "}");
  };
  CHECK(ignore(R"(["lm_head", "re:.*gate$"])") == "fp8_channel token; ignore [2]");
  CHECK(ignore("null") == "fp8_channel token;  [0]");
  CHECK(ignore(R"(["re:.*"])") == "FR201: the pattern `.*` matches every name");
}

TEST_CASE("a null list is read as absent, and said so") {
  Diagnostics out;
  REQUIRE(ReadText(R"({"quant_method": "fp8", "modules_to_not_convert": null})", &out));
  REQUIRE(out.findings().size() == 1);
  CHECK(CodeName(out.findings()[0].code) == "FR611");
  CHECK(out.findings()[0].message == "`modules_to_not_convert` is null, which is read as absent");
  CHECK(out.findings()[0].at.ToString() == "config.json#/modules_to_not_convert");
}

TEST_CASE("a key that the dialect does not know is a warning with its place") {
  Diagnostics out;
  REQUIRE(ReadText(R"({"quant_method": "fp8", "skip_modules": ["lm_head"]})", &out));
  REQUIRE(out.findings().size() == 1);
  CHECK(CodeName(out.findings()[0].code) == "FR610");
  CHECK(out.findings()[0].message == "dialect `fp8` does not know the key `skip_modules`");
  CHECK(out.findings()[0].at.ToString() == "config.json#/skip_modules");
  CHECK_FALSE(out.has_errors());
}

TEST_CASE("hf_quant_config.json alone is read; what nobody claims is refused by name") {
  Model model = Model::Of("tiny/qwen3_next_fp8");
  model.config.erase("quantization_config");
  const auto plan = [&](const std::string& hf, Diagnostics* out) {
    auto checkpoint = std::make_shared<Checkpoint>();
    model.headers = false;
    checkpoint->config = model.Build()->config;
    checkpoint->hf_quant_config = Json(hf);
    return MakePlan(SourceBook(), checkpoint, {1}, out);
  };
  Diagnostics good;
  const auto planned = plan(
      R"({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "exclude_modules": ["*linear_attn*"]}})",
      &good);
  INFO(ToHuman(good, false));
  REQUIRE(planned);
  CHECK_FALSE(good.has_errors());
  const auto scheme = [&](const char* path) {
    return planned->SchemeName(
        planned->decisions.modules[static_cast<size_t>(planned->Find(path))].scheme);
  };
  CHECK(scheme("model.layers.0.linear_attn.out_proj") == "bf16");
  CHECK(scheme("model.layers.0.mlp.shared_expert.down_proj") == "nvfp4");
  for (const char* text :
       {R"({"quantization": {"kv_cache_quant_algo": "FP8"}})", R"({"quant": 1})"}) {
    Diagnostics out;
    CHECK_FALSE(plan(text, &out));
    REQUIRE(out.findings().size() == 1);
    CHECK(CodeName(out.findings()[0].code) == "FR602");
    CHECK(out.ExitCode() == 1);
  }
}
