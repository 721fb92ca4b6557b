# SPDX-License-Identifier: Apache-2.0
"""Descriptions of the methods that no recorded checkpoint uses, and modules to ask about.

Forms are those of published checkpoints (AMD Quark FP8 and MXFP4, Intel auto-round, 4-bit bitsandbytes,
Llama-3.1-405B in fbgemm FP8, Ascend ModelSlim) and those that the engines' own code admits. Seeded: the same
cases for every engine. Nothing here knows what an engine answers.
"""
import random
import re

MAPS = {
    "llama": {"qkv_proj": ["q_proj", "k_proj", "v_proj"], "gate_up_proj": ["gate_proj", "up_proj"]},
    "qwen3_5": {"qkv_proj": ["q_proj", "k_proj", "v_proj"], "gate_up_proj": ["gate_proj", "up_proj"],
                "in_proj_qkvz": ["in_proj_qkv", "in_proj_z"], "in_proj_ba": ["in_proj_b", "in_proj_a"]},
    "latent": {"fused_qkv_a_proj_with_mqa": ["q_a_proj", "kv_a_proj_with_mqa"]},
    "whole": {"gate_up_proj": ["gate_proj", "up_proj"], "qkv": ["qkv"], "in_proj_ba": ["in_proj_ba"]},
    "empty": {},
}
MAPPERS = {
    "vl": {"orig_to_new_prefix": {"model.visual.": "visual.", "lm_head.": "language_model.lm_head.",
                                  "model.language_model.": "language_model.model."}},
    "drop": {"orig_to_new_substr": {"attn.qkv": "attn.qkv_proj"}, "orig_to_new_prefix": {"mtp.": None}},
}
# Fused name → its parts as stored, whatever map is in force.
PARTS = {**MAPS["qwen3_5"], **MAPS["latent"]}
LEAVES = {
    "self_attn": ["qkv_proj", "o_proj", "fused_qkv_a_proj_with_mqa", "kv_b_proj", "q_b_proj"],
    "mlp": ["gate_up_proj", "down_proj", "gate", "experts", "shared_expert_gate"],
    "mlp.shared_experts": ["gate_up_proj", "down_proj"],
    "block_sparse_moe": ["experts", "gate"],
    "linear_attn": ["in_proj_qkvz", "in_proj_ba", "out_proj"],
}
ROOTS = ["model.layers.{}", "language_model.model.layers.{}", "model.language_model.layers.{}", "mtp.layers.{}"]
OTHERS = [
    ("lm_head", "head"), ("language_model.lm_head", "head"), ("model.embed_tokens", "embedding"),
    ("visual.blocks.{}.attn.qkv_proj", "linear"), ("visual.blocks.{}.attn.proj", "linear"),
    ("visual.blocks.{}.mlp.gate_up_proj", "linear"), ("vision_tower.encoder.blocks.{}.attn.qkv_proj", "linear"),
    ("vision_model.layers.{}.self_attn.qkv_proj", "linear"), ("vision_model.layers.{}.self_attn.proj", "linear"),
    ("multi_modal_projector.linear_1", "linear"), ("mm_projector.linear_1", "linear"), ("mtp.fc", "linear"),
]
LAYERS = [0, 1, 2, 10, 11]


def kind_of(name):
    return "experts" if name.endswith("experts") and "shared" not in name else "linear"


def module(r):
    """A module as an engine names it, and its kind."""
    if r.random() < 0.2:
        name, kind = r.choice(OTHERS)
        return name.format(r.choice(LAYERS)), kind
    root = r.choices(ROOTS, [6, 2, 1, 1])[0].format(r.choice(LAYERS))
    block = r.choices(list(LEAVES), [4, 4, 1, 1, 2])[0]
    name = f"{root}.{block}.{r.choice(LEAVES[block])}"
    return name, kind_of(name)


def stored(r, name):
    """One or all names under which a checkpoint stores the module."""
    head, _, leaf = name.rpartition(".")
    if leaf in PARTS and r.random() < 0.85:
        parts = [f"{head}.{part}" for part in PARTS[leaf]]
        return parts if r.random() < 0.7 else [r.choice(parts)]
    if leaf == "experts" and r.random() < 0.7:
        projections = ["gate_proj", "up_proj", "down_proj"]
        count = r.choice([1, 2, 3])
        names = [f"{name}.{e}.{p}" for e in range(count) for p in projections]
        return names if r.random() < 0.6 else r.sample(names, r.randint(1, len(names)))
    return [name]


def mentions(r, asked):
    """Modules that lists are about: mostly those that are asked."""
    out = []
    for _ in range(r.randint(0, 4)):
        name = r.choice(asked)[0] if r.random() < 0.8 else module(r)[0]
        out += stored(r, name)
    return list(dict.fromkeys(out))


def plain_form(r, name):
    """An entry of a plain list."""
    segments = name.split(".")
    return r.choice([
        name, name, name, name, name + ".weight", ".".join(segments[:-1]) or name, segments[-1],
        ".".join(segments[-2:]), name.removeprefix("model."), "model." + name, name + ".", name.upper(),
        ".".join(segments[:r.randint(1, len(segments))])])


def regex_form(r, name):
    segments = [re.escape(s) for s in name.split(".")]
    return r.choice([
        r"\.".join(segments), ".*" + segments[-1], ".*" + segments[-1] + "$", r".*\." + segments[-1] + "$",
        re.sub(r"\\\.\d+", r"\\.\\d+", r"\.".join(segments)), r"model\.layers\.\d+\." + segments[-1],
        ".*" + r"\.".join(segments[-2:]) + ".*", "(" + "|".join(sorted({segments[-1], "lm_head"})) + ")", "[" + segments[-1],
        segments[0] + "."])


def glob_form(r, name):
    segments = name.split(".")
    return r.choice(["*" + segments[-1], "*." + segments[-1], "*" + ".".join(segments[-2:]), segments[0] + "*",
                     ".".join(segments[:-1]) + ".*", re.sub(r"\.\d+\.", ".*.", name), name[:-1] + "?", name,
                     "*" + segments[-1] + "*"])


# --- AMD Quark

def tensor(dtype, qscheme, dynamic, **more):
    spec = {"dtype": dtype, "is_dynamic": dynamic, "qscheme": qscheme, "symmetric": True}
    return {**spec, **more}


def quark_schemes():
    fp8 = tensor("fp8_e4m3", "per_tensor", False)
    fp4 = tensor("fp4", "per_group", False, group_size=32, scale_format="e8m0", ch_axis=-1)
    schemes = {
        "fp8": {"weight": fp8, "input_tensors": fp8},
        "fp8_dynamic": {"weight": fp8, "input_tensors": tensor("fp8_e4m3", "per_tensor", True)},
        "ptpc": {"weight": tensor("fp8_e4m3", "per_channel", False, ch_axis=0),
                 "input_tensors": tensor("fp8_e4m3", "per_channel", True, ch_axis=1)},
        "fp8_weight_only": {"weight": fp8, "input_tensors": None},
        "fp8_static_channel": {"weight": fp8, "input_tensors": tensor("fp8_e4m3", "per_channel", False)},
        "fp8_block": {"weight": tensor("fp8_e4m3", "per_block", False, block_size=[128, 128]),
                      "input_tensors": tensor("fp8_e4m3", "per_group", True, group_size=128)},
        "mxfp4": {"weight": fp4, "input_tensors": {**fp4, "is_dynamic": True}},
        "mxfp4_weight_only": {"weight": fp4, "input_tensors": None},
        "mxfp4_fp8": {"weight": fp4, "input_tensors": fp8},
        "mxfp4_16": {"weight": {**fp4, "group_size": 16}, "input_tensors": {**fp4, "is_dynamic": True}},
        "mxfp6": {"weight": {**fp4, "dtype": "fp6_e3m2"}, "input_tensors": {**fp4, "dtype": "fp6_e3m2", "is_dynamic": True}},
        "int8": {"weight": tensor("int8", "per_channel", False, ch_axis=0), "input_tensors": tensor("int8", "per_tensor", False)},
        "int4": {"weight": tensor("uint4", "per_group", False, group_size=128, symmetric=False, ch_axis=1), "input_tensors": None},
        "nvfp4": {"weight": [tensor("fp4", "per_group", False, group_size=16), fp8],
                  "input_tensors": [tensor("fp4", "per_group", True, group_size=16), fp8]},
        "int4_fp8": {"weight": [fp8, tensor("int4", "per_channel", False, ch_axis=0)],
                     "input_tensors": tensor("fp8_e4m3", "per_tensor", True)},
        "nothing": {"weight": None, "input_tensors": None},
    }
    return {k: {"bias": None, "output_tensors": None, **v} for k, v in schemes.items()}


QUARK = quark_schemes()
QUARK_COMMON = ["fp8", "fp8_dynamic", "ptpc", "mxfp4", "fp8_block"]


def quark_scheme(r):
    name = r.choice(QUARK_COMMON) if r.random() < 0.75 else r.choice(list(QUARK))
    scheme = dict(QUARK[name])
    if r.random() < 0.04:
        scheme["output_tensors"] = QUARK["fp8"]["weight"]
    if r.random() < 0.03:
        scheme["bias"] = QUARK["fp8"]["weight"]
    return scheme


def quark(r, asked):
    """amd/…-FP8-KV, …-MXFP4, …-ptpc: one scheme for all, KV cache by globs, names in `exclude`."""
    forms = [plain_form] * 4 + [lambda r, n: "re:" + regex_form(r, n), glob_form]
    d = {"algo_config": None, "exclude": [r.choice(forms)(r, n) for n in mentions(r, asked)],
         "export": {"kv_cache_group": [], "min_kv_scale": 0.0, "pack_method": "reorder",
                    "weight_format": "real_quantized", "weight_merge_groups": None},
         "global_quant_config": quark_scheme(r), "kv_cache_quant_config": {}, "layer_quant_config": {},
         "layer_type_quant_config": {}, "quant_method": "quark", "quant_mode": "eager_mode",
         "softmax_quant_spec": None, "version": "0.10"}
    if r.random() < 0.5:
        d["exclude"].append("lm_head")
    if r.random() < 0.55:
        few = [quark_scheme(r) for _ in range(2)] + [d["global_quant_config"]]
        for name in mentions(r, asked):
            d["layer_quant_config"][r.choice([plain_form, glob_form, glob_form])(r, name)] = dict(r.choice(few))
    if r.random() < 0.12:
        for name in r.sample(["Linear", "QKVParallelLinear", "LinearBase", "FusedMoE", "ColumnParallelLinear"], 2):
            d["layer_type_quant_config"][name] = quark_scheme(r)
    if r.random() < 0.25:   # the KV cache: outputs of k_proj and v_proj
        d["export"]["kv_cache_group"] = r.choice([["*k_proj", "*v_proj"], ["*k_proj", "*v_proj", "*kv_b_proj"]])
        own = d["global_quant_config"] if r.random() < 0.7 else quark_scheme(r)
        for key in d["export"]["kv_cache_group"] + r.choice([[], ["*q_proj"]]):
            if r.random() < 0.95:
                d["layer_quant_config"][key] = {**own, "output_tensors": QUARK["fp8"]["weight"] if r.random() < 0.95 else None}
    if r.random() < 0.06:   # what exporters of other versions leave out, or write otherwise
        key = r.choice(["exclude", "export", "layer_quant_config", "layer_type_quant_config", "global_quant_config"])
        if r.random() < 0.5:
            del d[key]
        else:
            d[key] = None
    return d


# --- Intel auto-round

def setting(r):
    bits = r.choice([16, 16, 16, 8, 4, 32])
    full = {"bits": bits, "data_type": r.choice(["int", "float"]), "group_size": 128, "sym": True}
    return r.choice([full, {"bits": bits}, {"bits": 16, "data_type": "float"}, {"group_size": 32}, {"sym": False}, {}])


def auto_round(r, asked):
    d = {"quant_method": r.choices(["auto-round", "intel/auto-round", "auto_round"], [30, 1, 1])[0],
         "bits": r.choices([4, 8, 2, 3, 5, 16], [10, 3, 2, 1, 1, 1])[0], "group_size": r.choice([128, 128, 32, -1]),
         "sym": r.random() < 0.8, "data_type": r.choices(["int", "mx_fp", "fp"], [20, 1, 1])[0],
         "packing_format": r.choices(["auto_round:auto_gptq", "auto_round:auto_awq", "auto_round:gptqmodel",
                                      "auto_round:llm_compressor", "auto_round:exllamav2"], [20, 8, 1, 1, 1])[0],
         "autoround_version": "0.7.1", "iters": 200, "low_gpu_mem_usage": True, "nsamples": 512}
    if r.random() < 0.25:
        del d["packing_format"]
    if r.random() < 0.12:
        d["backend"] = r.choice(["auto", "gptq", "awq:marlin", "auto_round:gptq:exllamav2", "marlin"])
    if r.random() < 0.5:
        key = r.choice(["block_name_to_quantize", "block_name_to_quantize", "to_quant_block_names"])
        names = r.sample(["model.layers", "model.language_model.layers", "model.visual.blocks", "language_model.model.layers",
                          "model.layers.1", "visual.blocks"], r.randint(1, 2))
        d[key] = r.choice([",".join(names), names, None])
    if r.random() < 0.75:
        few = [setting(r) for _ in range(2)]
        d["extra_config"] = {}
        for name in mentions(r, asked):
            form = r.choices([plain_form, regex_form, lambda r, n: n], [2, 2, 5])[0]
            d["extra_config"][form(r, name)] = dict(r.choice(few))
    if r.random() < 0.03:
        d.pop(r.choice(["bits", "group_size", "sym"]))
    return d


# --- bitsandbytes

def bitsandbytes(r, asked):
    four = r.random() < 0.85
    names = [plain_form(r, n) for n in mentions(r, asked)]
    usual = ["lm_head", "multi_modal_projector", "merger", "modality_projection", "router", "visual", "vision_tower"]
    skip = r.choice([None, [], names, names, names, names + usual, usual, ["lm_head"]])
    d = {"quant_method": r.choices(["bitsandbytes", "bnb"], [30, 1])[0], "_load_in_4bit": four, "_load_in_8bit": not four,
         "load_in_4bit": four, "load_in_8bit": not four, "bnb_4bit_compute_dtype": "bfloat16",
         "bnb_4bit_quant_storage": r.choices(["uint8", "bfloat16"], [30, 1])[0],
         "bnb_4bit_quant_type": r.choice(["nf4", "nf4", "fp4"]), "bnb_4bit_use_double_quant": True,
         "llm_int8_enable_fp32_cpu_offload": False, "llm_int8_has_fp16_weight": False, "llm_int8_skip_modules": skip,
         "llm_int8_threshold": 6.0}
    if r.random() < 0.1:
        del d["llm_int8_skip_modules"]
    return d


# --- fbgemm FP8

def fbgemm_fp8(r, asked):
    names = [plain_form(r, n) for n in mentions(r, asked)]
    d = {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0,
         "modules_to_not_convert": r.choice([names, names, names, names + ["lm_head"], None, []])}
    if r.random() < 0.08:
        del d[r.choice(["modules_to_not_convert", "activation_scale_ub"])]
    return d


# --- Ascend ModelSlim

KINDS = ["FLOAT", "FLOAT", "FLOAT", "W8A8", "W8A8_DYNAMIC", "W8A8_DYNAMIC", "W4A8_DYNAMIC", "W4A4_DYNAMIC", "W4A16", "W8A8_MXFP8"]


def modelslim(r, asked):
    """quant_model_description.json: every tensor with its kind."""
    d = {"model_quant_type": r.choice(["W8A8", "W8A8_DYNAMIC", "W4A8_DYNAMIC"]), "version": "1.0.0", "group_size": 0,
         "kv_quant_type": None}
    usual = d["model_quant_type"]
    for name, kind in asked + [module(r)]:
        if r.random() < 0.15:
            continue        # not described
        one = r.choice(KINDS + [usual] * 5)
        names = stored(r, name) if r.random() < 0.5 else [
            name.rpartition(".")[0] + "." + part for part in PARTS.get(name.rpartition(".")[2], [name.rpartition(".")[2]])]
        for key in names if "." in name else [name]:
            if r.random() < 0.15:
                key = r.choice([key.removeprefix("language_model."), "language_model." + key,
                                key.replace(".mlp.", ".block_sparse_moe."), key.replace("attn.qkv_proj", "wqkv")])
            d[key + ".weight"] = one if r.random() < 0.9 else r.choice(KINDS)
            if d[key + ".weight"] != "FLOAT" and r.random() < 0.2:
                d[key + ".weight_scale"] = d[key + ".weight"]
    return d


METHODS = {"quark": quark, "auto_round": auto_round, "bitsandbytes": bitsandbytes, "fbgemm_fp8": fbgemm_fp8,
           "modelslim": modelslim}


def cases(method, count, questions):
    """(description, name of a map, name of a mapper or None, [(module, kind)])"""
    r = random.Random(f"{method} 2026-11-28")
    for _ in range(count):
        asked = list(dict.fromkeys(module(r) for _ in range(questions)))
        yield (METHODS[method](r, asked), r.choices(list(MAPS), [6, 4, 2, 1, 1])[0],
               r.choices([None, *MAPPERS], [8, 2, 1])[0], asked)
