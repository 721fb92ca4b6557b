// SPDX-License-Identifier: Apache-2.0
// What a dialect file is read as. Its mistakes are in tests/bad/dialects.
#include "engine/lists/dialect.h"

#include "tests/catch.h"

using namespace ferrule;

TEST_CASE("a dialect is read with all its keys") {
  Diagnostics out;
  const auto dialect = ParseDialect("d.yaml", R"(ferrule: 1
dialect: d
about: everything
source: made up for a test
claims: {quant_method: [m1, m2], when: has(a), unnamed: has(b)}
places: [{file: hf_quant_config.json, key: quantization}, {file: quant_model_description.json}]
expect: [{file: hf_quant_config.json, key: producer, without: nobody reads it}]
list: {keys: [ignore, skip], strip: ['.weight', '.'], patterns: 're:', leaves: base}
match: [exact, ancestor, last-segments, segments, glob, suffix, substring, regex-match, class-name]
layers:
  - {keys: [dynamic], match: [regex-full], patterns: all, ordered: true, skips: '-:', quantizes: '+:'}
  - {keys: [], match: [exact, regex-search], patterns: special, only: .weight, strip: .weight, word: kind, skip: kind == 'FLOAT'}
only: {keys: [blocks], match: [ancestor], split: ','}
groups: {key: config_groups, targets: targets}
base: global
order: [only, list, groups, layers]
otherwise: {bf16: has(c)}
accept: {fmt: [e4m3], scale_fmt: ue8m0}
other: [version, meta]
cache: [{name: [k_scale, v_scale], dtype: F32}]
schemes:
  - when: has(block)
    scheme: fp8_block
    block: block
    activation: group
    power_of_two: scale_fmt == 'ue8m0'
    storage:
      weight: {name: weight, dtype: F8_E4M3}
      scale: {name: scale, dtype: [F32, BF16], per: block, optional: true}
      input: {name: input_scale, dtype: F32, per: tensor}
  - scheme: int4
    bits: [bits, 4]
    group: group_size
    storage:
      weight: {name: [_blocks, qweight], dtype: I32, shape: [in * bits / 32, rows]}
      more:
        - {name: g_idx, dtype: I32, shape: [groups], optional: true}
        - {name: state, dtype: U8, shape: any}
  - {scheme: nvfp4}
)",
                                    &out);
  INFO(ToHuman(out, false));
  REQUIRE(dialect);
  CHECK(out.findings().empty());
  CHECK(dialect->name == "d");
  CHECK(dialect->quant_methods == std::vector<std::string>{"m1", "m2"});
  CHECK(dialect->claims_when->Text() == "has(a)");
  CHECK(dialect->claims_unnamed->Text() == "has(b)");
  REQUIRE(dialect->places.size() == 2);
  CHECK(dialect->places[0].file == "hf_quant_config.json");
  CHECK(dialect->places[0].key == "quantization");
  CHECK(dialect->places[1].key.empty());
  REQUIRE(dialect->expect.size() == 1);
  CHECK(dialect->expect[0].place.key == "producer");
  CHECK(dialect->expect[0].without == "nobody reads it");
  CHECK(dialect->list.keys == std::vector<std::string>{"ignore", "skip"});
  CHECK(dialect->list.names.strip == std::vector<std::string>{".weight", "."});
  CHECK(dialect->list.names.prefix == "re:");
  CHECK(dialect->list.names.IsPattern("re:x"));
  CHECK_FALSE(dialect->list.names.IsPattern("x.*"));
  CHECK(dialect->list.leaves_base);
  CHECK(dialect->list.names.match.size() == 9);
  CHECK(PrimitiveName(dialect->list.names.match[2]) == "last-segments");
  CHECK(PrimitiveName(dialect->list.names.match[6]) == "substring");
  REQUIRE(dialect->layers.size() == 2);
  const LayersRule& dynamic = dialect->layers[0];
  CHECK(dynamic.ordered);
  CHECK(dynamic.skips == "-:");
  CHECK(dynamic.quantizes == "+:");
  CHECK(dynamic.names.IsPattern("model"));
  const LayersRule& all = dialect->layers[1];
  CHECK(all.keys.empty());
  CHECK(all.names.IsPattern("a.*"));
  CHECK_FALSE(all.names.IsPattern("model.layers.0"));
  CHECK(all.only == ".weight");
  CHECK(all.word == "kind");
  CHECK(all.skip->Text() == "kind == 'FLOAT'");
  CHECK_FALSE(all.ordered);
  REQUIRE(dialect->only);
  CHECK(dialect->only->split == ",");
  CHECK(dialect->base_key == "global");
  CHECK(dialect->order ==
        std::vector<Section>{Section::kOnly, Section::kList, Section::kGroups, Section::kLayers});
  CHECK_FALSE(dialect->otherwise_bf16);
  CHECK(dialect->otherwise_when->Text() == "has(c)");
  CHECK(dialect->cache[0].names == std::vector<std::string>{"k_scale", "v_scale"});
  for (const char* key : {"version", "ignore", "a", "c", "fmt", "block", "bits", "group_size"})
    CHECK(dialect->Knows(key));
  CHECK(dialect->groups_key == "config_groups");
  CHECK(dialect->targets_key == "targets");
  REQUIRE(dialect->accept.size() == 2);
  CHECK(dialect->accept[1].values == std::vector<std::string>{"ue8m0"});
  REQUIRE(dialect->schemes.size() == 3);
  const SchemeRule& scheme = dialect->schemes[0];
  CHECK(scheme.scheme == "fp8_block");
  CHECK(scheme.when->Text() == "has(block)");
  CHECK(scheme.block_key == "block");
  CHECK(ActivationName(scheme.activation) == "group");
  CHECK(scheme.power_of_two.has_value());
  CHECK(scheme.weight()->dtypes == std::vector<DType>{DType::kF8E4M3});
  CHECK(scheme.weight()->per == Per::kPlain);
  CHECK(scheme.scale()->per == Per::kBlock);
  CHECK(scheme.scale()->optional);
  CHECK(scheme.scale()->dtypes.size() == 2);
  CHECK(scheme.input()->per == Per::kTensor);
  const SchemeRule& packed = dialect->schemes[1];
  CHECK(packed.bits->alternatives.size() == 2);
  CHECK(packed.weight()->names == std::vector<std::string>{"_blocks", "qweight"});
  CHECK(packed.weight()->shape.size() == 2);
  CHECK(packed.scale() == nullptr);
  REQUIRE(packed.storage.size() == 3);
  CHECK(packed.storage[1].role == "more");
  CHECK(packed.storage[1].optional);
  CHECK(packed.storage[2].per == Per::kAny);
  CHECK_FALSE(dialect->schemes[2].when);
  CHECK(dialect->schemes[2].storage.empty());
}

TEST_CASE("a dialect that says little has the defaults of the format") {
  Diagnostics out;
  const auto dialect = ParseDialect("d.yaml",
                                    "ferrule: 1\ndialect: d\nclaims: {quant_method: [m]}\n"
                                    "list: {keys: [ignore]}\nmatch: [exact]\n"
                                    "schemes: [{scheme: fp8_tensor}]\n",
                                    &out);
  REQUIRE(dialect);
  CHECK(dialect->order ==
        std::vector<Section>{Section::kList, Section::kOnly, Section::kLayers, Section::kGroups});
  REQUIRE(dialect->places.size() == 2);
  CHECK(dialect->places[0].key == "quantization_config");
  CHECK(dialect->places[1].key == "text_config.quantization_config");
  CHECK_FALSE(dialect->otherwise_bf16);
  CHECK_FALSE(dialect->Knows("version"));
  CHECK(dialect->Knows("quant_method"));
}
