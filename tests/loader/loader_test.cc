// SPDX-License-Identifier: Apache-2.0
// What is not loaded, and the whole of what is said about it.
#include "kernels/loader.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "engine/ferrule.h"
#include "kernels/load.h"
#include "kernels/plan_agreement.h"
#include "tests/catch.h"
#include "tests/engine/model.h"
#include "tests/loader/made.h"

using namespace ferrule;
using namespace ferrule::test;

namespace {

const Storage kBlocks{"fp8_block", 128, 128, DType::kBF16, DType::kF32};

// A model of one linear, [300, 200], cut by rows.
Made OneLinear(const Storage& storage) {
  Made made(5, storage, "  w: {rows: rows, in: in, split: column}\n", {{"rows", 300}, {"in", 200}});
  made.AddLinear("w", 300, 200);
  return made;
}

// What loading w says; "" when it is loaded.
std::string Said(Made* made, int tp = 1, int rank = 0) {
  const Plan plan = made->PlanAt(tp);
  Diagnostics out;
  const auto linear = LoadModule(plan, plan.Find("w"), rank, &out);
  CHECK((linear == nullptr) == out.has_errors());
  return Lines(out, made->directory());
}

void SetFloat(MadeTensor* tensor, size_t at, float value) {
  std::memcpy(tensor->bytes.data() + at * 4, &value, 4);
}

// What is said about the scale of row block 1 and column block 1 when it is `value`.
std::string WithScale(float value) {
  Made made = OneLinear(kBlocks);
  SetFloat(&made.tensors().at("w.weight_scale_inv"), 3, value);
  return Said(&made);
}

std::string ScaleError(const std::string& value) {
  return "D/1.safetensors#/w.weight_scale_inv: error[FR507]: `w.weight_scale_inv`[1, 1] is " +
         value +
         "; a scale is a positive number between 1.2e-38 and 3.4e38 | found: 1 of 6 values | "
         "effect: outputs would be zero, of the wrong sign or NaN, and nothing else amiss | help: "
         "such a scale was never filled: fetch the file again, or quantize anew";
}

}  // namespace

TEST_CASE("case 108: scales that cannot be") {
  CHECK(WithScale(1.5f) == "");
  CHECK(WithScale(0) == ScaleError("0"));
  CHECK(WithScale(-0.0f) == ScaleError("-0"));
  CHECK(WithScale(-1.5f) == ScaleError("-1.5"));
  CHECK(WithScale(std::nanf("")) == ScaleError("nan"));
  CHECK(WithScale(std::numeric_limits<float>::infinity()) == ScaleError("inf"));
  CHECK(WithScale(-std::numeric_limits<float>::max()) == ScaleError("-3.4028235e+38"));  // unfilled
  CHECK(WithScale(1e-40f) == ScaleError("1e-40"));  // subnormal
  CHECK(WithScale(std::numeric_limits<float>::min()) == "");
  CHECK(WithScale(std::numeric_limits<float>::max()) == "");
}

TEST_CASE("case 108: every bad scale is counted, in every dtype and of every kind") {
  Made zeros = OneLinear(kBlocks);
  for (size_t i = 2; i < 6; ++i) SetFloat(&zeros.tensors().at("w.weight_scale_inv"), i, 0);
  const std::string many = Said(&zeros);
  CHECK(many.find("`w.weight_scale_inv`[1, 0] is 0;") != std::string::npos);
  CHECK(many.find("found: 4 of 6 values") != std::string::npos);

  Made halves = OneLinear({"fp8_block", 128, 128, DType::kBF16, DType::kBF16});
  halves.tensors().at("w.weight_scale_inv").bytes[1] = 0xBF;  // the sign
  CHECK(Said(&halves).find("`w.weight_scale_inv`[0, 0] is -") != std::string::npos);

  Made powers = OneLinear({"fp8_block", 128, 128, DType::kBF16, DType::kF8E8M0});
  powers.tensors().at("w.weight_scale_inv").bytes[5] = 0;  // 2^-127: a block of zeros
  powers.tensors().at("w.weight_scale_inv").bytes[4] = 254;
  CHECK(Said(&powers) == "");
  Made nan = OneLinear({"fp8_block", 128, 128, DType::kBF16, DType::kF8E8M0});
  nan.tensors().at("w.weight_scale_inv").bytes[5] = 255;
  CHECK(Said(&nan).find("`w.weight_scale_inv`[2, 1] is nan;") != std::string::npos);

  Made channel = OneLinear({"fp8_channel", 0, 0, DType::kBF16, DType::kF32});
  SetFloat(&channel.tensors().at("w.weight_scale"), 299, 0);
  CHECK(Said(&channel).find("`w.weight_scale`[299, 0] is 0;") != std::string::npos);

  Made fixed = OneLinear({"fp8_static", 0, 0, DType::kBF16, DType::kF32});
  SetFloat(&fixed.tensors().at("w.input_scale"), 0, -1);
  CHECK(Said(&fixed).find("`w.input_scale`[0] is -1;") != std::string::npos);
}

TEST_CASE("case 109: NaN codes in a weight, counted where the rank holds them") {
  Made made = OneLinear(kBlocks);
  std::vector<uint8_t>& weight = made.tensors().at("w.weight").bytes;
  weight[149 * 200 + 3] = 0x7F;
  weight[150 * 200 + 7] = 0xFF;
  weight[299 * 200 + 199] = 0x7F;
  const auto error = [](const char* what) {
    return std::string("D/0.safetensors#/w.weight: error[FR508]: `w.weight` holds ") + what +
           " | effect: every output of that row would be NaN | help: a sound checkpoint has none: "
           "fetch the file again, or quantize anew";
  };
  CHECK(Said(&made) == error("3 NaN codes, the first at [149, 3]"));
  CHECK(Said(&made, 2, 0) == error("1 NaN code, the first at [149, 3]"));
  CHECK(Said(&made, 2, 1) == error("2 NaN codes, the first at [150, 7]"));
  CHECK(Said(&made, 3, 0) == "");
}

TEST_CASE("case 109: a NaN code is found at every place, beside codes that are nearly NaN") {
  const uint8_t near[] = {0x7E, 0xFE, 0x80, 0x00, 0xF7, 0x6F};
  // [3, 7]; `nan` at place 21 is none.
  const auto said = [&](size_t place, uint8_t nan) {
    const Storage storage{"fp8_channel", 0, 0, DType::kBF16, DType::kF32};
    Made made(5, storage, "  w: {rows: rows, in: in, split: column}\n", {{"rows", 3}, {"in", 7}});
    made.AddLinear("w", 3, 7);
    std::vector<uint8_t>& weight = made.tensors().at("w.weight").bytes;
    REQUIRE(weight.size() == 21);
    for (size_t i = 0; i < 21; ++i) weight[i] = i == place ? nan : near[i % std::size(near)];
    return Said(&made);
  };
  CHECK(said(21, 0x7F) == "");
  for (size_t place = 0; place < 21; ++place)
    for (const uint8_t nan : {uint8_t{0x7F}, uint8_t{0xFF}}) {
      INFO("place " << place);
      const std::string where = std::to_string(place / 7) + ", " + std::to_string(place % 7);
      CHECK(said(place, nan).find("holds 1 NaN code, the first at [" + where + "] |") !=
            std::string::npos);
    }
}

TEST_CASE("what a plan does not allow is not loaded, and the reason is text") {
  const auto book = RuleBook::Load();
  REQUIRE(book);
  const auto plan = book->Plan(FixturePath("tiny/qwen3_next_fp8"), {.tp = 2});
  REQUIRE(plan);
  const auto refused = [&](const ModelPlan& of, const char* name, int rank) {
    std::string error;
    CHECK(LoadLinear(of, name, rank, &error) == nullptr);
    CHECK(LoadLinear(of, name, rank, nullptr) == nullptr);
    return error;
  };
  std::string error = "nothing";
  CHECK(LoadLinear(*plan, "model.layers.3.self_attn.qkv_proj", 1, &error) != nullptr);
  CHECK(error == "nothing");
  CHECK(refused(*plan, "model.layers.3.self_attn.qkv_proj", 2) == "error[FR503]: rank 2 of 2\n\n");
  CHECK(refused(*plan, "model.layers.3.self_attn.qkv_proj", -1) ==
        "error[FR503]: rank -1 of 2\n\n");
  CHECK(refused(*plan, "model.layers.3.self_attn.qkv_porj", 0) ==
        "error[FR406]: the model has no linear `model.layers.3.self_attn.qkv_porj`\nhelp: did you "
        "mean `model.layers.3.self_attn.qkv_proj`?\n\n");
  CHECK(refused(*plan, "model.norm", 0) ==
        "error[FR406]: `model.norm` is no linear\n"
        "help: `ferrule plan DIR --expand` lists the linears\n\n");
  CHECK(refused(*plan, "", 0).find("error[FR406]: the model has no linear ``") == 0);

  const auto fixture = book->Plan(FixturePath("qwen3_8b_fp8"));
  REQUIRE(fixture);
  CHECK(refused(*fixture, "lm_head", 0) ==
        "error[FR706]: `" + FixturePath("qwen3_8b_fp8") +
            "` holds no weights\n"
            "help: name the checkpoint itself: a header fixture is planned, not loaded\n\n");

  const auto models = RuleBook::Load({FERRULE_TEST_DATA "/bad/models"});
  REQUIRE(models);
  const auto wrong =
      models->Plan(FERRULE_TEST_DATA "/bad/checkpoints/107_scales", {.allow_errors = true});
  REQUIRE(wrong);
  CHECK(refused(*wrong, "lm_head", 0) == "error[FR117]: a plan with errors is not loaded\n\n");
}

TEST_CASE("a bias that cannot be added is refused") {
  const auto with_bias = [] {
    Made made(5, kBlocks, "  w: {rows: rows, in: in, split: row, bias: true}\n",
              {{"rows", 300}, {"in", 256}});
    made.AddLinear("w", 300, 256);
    made.AddBias("w", DType::kF32);
    return made;
  };
  Made sound = with_bias();
  CHECK(Said(&sound, 2, 1) == "");
  Made whole_numbers = with_bias();
  whole_numbers.tensors().at("w.bias").dtype = DType::kI32;
  for (const int rank : {0, 1})  // also where it would not be added
    CHECK(Said(&whole_numbers, 2, rank) ==
          "error[FR504]: `w.bias` is I32; a bias is added as BF16, F16 or F32 alone");

  Made none = with_bias();
  none.tensors().erase("w.bias");
  none.Write();
  Diagnostics planned, out;
  const auto plan = MakePlan(none.book(), OpenSound(none.directory()), {2}, &planned);
  REQUIRE(plan);
  CHECK(planned.has_errors());  // so that LoadLinear never comes here
  CHECK(LoadModule(*plan, plan->Find("w"), 0, &out) == nullptr);
  CHECK(Lines(out, none.directory()) == "error[FR303]: the bias of `w` is not stored");
}

TEST_CASE("a file that goes while its weights are read is an error, not a crash") {
  Made made = OneLinear(kBlocks);
  const Plan plan = made.PlanAt(1);
  std::filesystem::resize_file(made.directory() + "/0.safetensors", 300);
  Diagnostics out;
  CHECK(LoadModule(plan, plan.Find("w"), 0, &out) == nullptr);
  CHECK(Lines(out, made.directory()) ==
        "D/0.safetensors#/w.weight: error[FR902]: `D/0.safetensors` has changed since its header "
        "was read | help: something writes to the checkpoint; start again when it is complete");
  std::filesystem::remove(made.directory() + "/0.safetensors");
  Diagnostics gone;
  CHECK(LoadModule(plan, plan.Find("w"), 0, &gone) == nullptr);
  CHECK(Lines(gone, made.directory()) ==
        "D/0.safetensors: error[FR706]: `D/0.safetensors` does not exist");
}

TEST_CASE("what reads the tensor of a neighbour or of the embeddings is loaded from there") {
  Made made(7, kBlocks,
            "  a:\n    v: {rows: rows, in: in, split: column, same: {as: k}}\n"
            "    k: {rows: rows, in: in, split: column}\n",
            {{"rows", 300}, {"in", 200}});
  made.AddLinear("a.k", 300, 200);
  const Plan plan = made.PlanAt(2);
  Diagnostics out;
  const auto k = LoadModule(plan, plan.Find("a.k"), 1, &out);
  const auto v = LoadModule(plan, plan.Find("a.v"), 1, &out);
  INFO(Lines(out, made.directory()));
  REQUIRE((k && v));
  const Activations x = made.X(3, 200);
  CHECK(ByFastPath(*k, x) == ByFastPath(*v, x));
}

TEST_CASE("the plan for another tp is another plan, which ranks notice") {
  Made made = OneLinear(kBlocks);
  const std::string one = made.PlanAt(1).plan_sha, two = made.PlanAt(2).plan_sha;
  CHECK(PlansDiffer({two, made.PlanAt(2).plan_sha}) == "");
  CHECK(PlansDiffer({two, one})
            .find("rank 1 of 2 runs plan " + one.substr(0, 12) + ", rank 0 plan " +
                  two.substr(0, 12)) == 0);
}
