#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What an installed engine decides for made descriptions of Quark, AutoRound, bitsandbytes, fbgemm and ModelSlim.

    PYTHON tests/oracle/recorders/record_methods.py sglang|vllm|transformers [VERSION …] > tests/oracle/ENGINE-methods.jsonl

PYTHON is an interpreter for which the engine is installed; VERSION another one that was recorded apart and answers
alike. Without a GPU SGLang and vLLM want a libcuda to load (LD_LIBRARY_PATH: `driver_folder` of
tests/engines/no_gpu.py makes one that finds no device) and SGLang a device to believe in (`pretend` there).
Of both the whole way from config.json to a layer is asked: the check of the method's name, the loader's function that builds the quantization config, the
renames of a model class, get_quant_method of real layer classes without weights. transformers' quantizers are asked
to convert a tree of nn.Linear. Only classes of kernels are replaced, by their names, and answers about the device.
"""
import json
import logging
import os
import re
import sys
import tempfile
import types

import method_cases

logging.disable(logging.CRITICAL)
COUNTS = {"quark": 140, "auto_round": 120, "bitsandbytes": 60, "fbgemm_fp8": 60, "modelslim": 80}
# Where an engine says the same of all: a few.
FEW = {"sglang": {"fbgemm_fp8": 4}, "vllm": {"bitsandbytes": 8, "fbgemm_fp8": 8, "modelslim": 8},
       "transformers": {"quark": 0, "auto_round": 0, "modelslim": 8}}
QUESTIONS = 9


class Checked(Exception):
    """An error within a class of settings, which pydantic wraps: recorded as that class raises it."""

    def __init__(self, settings, error):
        word = {ValueError: "Value error", AssertionError: "Assertion failed"}.get(type(error))
        self.text = f"ValidationError: 1 validation error for {settings}: {word}, {short(error)}" if word else None
        super().__init__(error)
        self.error = error


def short(error):
    text = str(error).strip().split("\n")[0]
    return re.sub(r"(\.|,) +(Must be|currently only support|Available methods).*", "", text)   # lists of what is known


def failed(error):
    if isinstance(error, Checked):
        return error.text or failed(error.error)
    return f"{type(error).__name__}: {short(error)[:200]}"


def markers(package, keep=()):
    """Kernel classes by their names alone: building one asks for a GPU."""
    for name, module in list(sys.modules.items()):
        if not name.startswith(package):
            continue
        for known, value in list(vars(module).items()):
            if isinstance(value, type) and re.search(r"(Linear|MoE|Moe|Embedding)Method$", known) and known not in keep:
                setattr(module, known, type(known, (), {"__init__": lambda self, *a, **k: None}))


def bare(cls, **attributes):
    import torch

    layer = object.__new__(cls)
    torch.nn.Module.__init__(layer)
    layer.__dict__.update(attributes)
    return layer


def pretend_hopper():
    import torch

    class Properties:
        name, major, minor, total_memory, multi_processor_count, gcnArchName = "NVIDIA H200", 9, 0, 141 << 30, 132, ""

    torch.cuda.is_available = lambda: True
    torch.cuda.device_count = lambda: 1
    torch.cuda.current_device = lambda: 0
    torch.cuda.get_device_properties = lambda device=0: Properties()
    torch.cuda.get_device_capability = lambda device=0: (9, 0)
    torch.cuda.get_device_name = lambda device=0: Properties.name


class Answers:
    """One method class → a word."""

    def word(self, method):
        if method is None:
            return "none"
        return "skip" if type(method).__name__.startswith("Unquantized") else "quant"


class Sglang(Answers):
    def __init__(self):
        pretend_hopper()
        import torch
        import sglang
        import sglang.srt.configs.model_config as model_config
        import sglang.srt.layers.quantization as quantization
        import sglang.srt.layers.quantization.auto_round  # noqa: F401
        import sglang.srt.layers.quantization.awq  # noqa: F401
        import sglang.srt.layers.quantization.gptq  # noqa: F401
        import sglang.srt.layers.quantization.modelslim.modelslim as modelslim
        import sglang.srt.layers.quantization.quark.quark as quark
        import sglang.srt.model_loader.loader as loader
        from sglang.srt.layers import linear
        from sglang.srt.layers.moe.fused_moe_triton.layer import FusedMoE
        from sglang.srt.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding
        from sglang.srt.models.utils import WeightsMapper

        self.version, self.words = sglang.__version__, {
            "linear": "Linear", "experts": "FusedMoE", "head": "ParallelLMHead", "embedding": "VocabParallelEmbedding"}
        self.classes = {"linear": linear.ColumnParallelLinear, "experts": FusedMoE, "head": ParallelLMHead,
                        "embedding": VocabParallelEmbedding}
        self.leaves = {"qkv_proj": linear.QKVParallelLinear, "gate_up_proj": linear.MergedColumnParallelLinear,
                       "in_proj_qkvz": linear.MergedColumnParallelLinear, "in_proj_ba": linear.MergedColumnParallelLinear,
                       "o_proj": linear.RowParallelLinear, "down_proj": linear.RowParallelLinear, "gate": linear.ReplicatedLinear}
        from transformers import PretrainedConfig

        self.hf_config = PretrainedConfig
        self.config_class, self.loader, self.mapper = model_config.ModelConfig, loader, WeightsMapper
        self.dtype = torch.bfloat16
        markers("sglang.")
        # Schemes choose kernels where they are built; what they ask of the GPU stays.
        for module in (quark, modelslim):
            for known, value in list(vars(module).items()):
                if isinstance(value, type) and re.match(r"(Quark|ModelSlim)(W\d|MX)", known):
                    setattr(module, known, type(known, (value,), {
                        "__init__": lambda self, *a, **k: None, "kernel": None, "__abstractmethods__": frozenset()}))
        import sglang.srt.layers.quantization.marlin_utils as marlin
        marlin.check_moe_marlin_supports_layer = lambda *a, **k: True
        import sglang.srt.layers.quantization.awq as awq
        awq.AWQMarlinConfig.get_linear_scheme = awq.AWQMarlinConfig.get_moe_scheme = lambda self, layer: None
        awq.AWQConfig.get_linear_scheme = lambda self, layer: None

    def build(self, method, description, fused, renames):
        description = json.loads(json.dumps(description))
        config = object.__new__(self.config_class)
        folder = tempfile.mkdtemp()
        hf = self.hf_config(architectures=["Made"])
        if method == "modelslim":
            with open(os.path.join(folder, "quant_model_description.json"), "w", encoding="utf-8") as file:
                json.dump(description, file)
        else:
            hf.quantization_config = description
        config.__dict__.update(hf_config=hf, model_path=folder, quantization=None, is_draft_model=False, dtype=self.dtype,
                               is_draft_quantization_explicit=False, is_fp4_experts=False, nvfp4_moe_meta=None, revision=None)
        config._verify_quantization()
        # ModelSlim runs on NPUs alone: there the loader gives it maps of its own.
        self.loader._is_npu = method == "modelslim"
        model = type("Made", (), {"packed_modules_mapping": {k: list(v) for k, v in fused.items()}})
        if renames:
            model.hf_to_sglang_mapper = self.mapper(**renames)
        self.loader.get_model_architecture = lambda config: (model, "Made")
        load = types.SimpleNamespace(model_loader_extra_config=None, download_dir=None)
        return self.loader._get_quantization_config(config, load)

    def class_of(self, name, kind):
        return self.leaves.get(name.rpartition(".")[2], self.classes[kind])

    def ask(self, config, name, kind):
        return self.word(config.get_quant_method(bare(self.class_of(name, kind)), name))


class Vllm(Answers):
    def __init__(self):
        os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
        pretend_hopper()
        import torch
        import vllm.platforms
        from vllm.platforms.cuda import NonNvmlCudaPlatform
        from vllm.platforms.interface import DeviceCapability

        class Hopper(NonNvmlCudaPlatform):
            get_device_capability = classmethod(lambda cls, device_id=0: DeviceCapability(9, 0))
            get_device_name = classmethod(lambda cls, device_id=0: "NVIDIA H200")
            get_device_total_memory = classmethod(lambda cls, device_id=0: 141 << 30)

        vllm.platforms._current_platform = Hopper()
        import vllm
        import vllm.config as vllm_config
        import vllm.model_executor.layers.quantization as quantization
        import vllm.model_executor.layers.quantization.quark.quark as quark
        from vllm.model_executor.layers.fused_moe import RoutedExperts
        from vllm.model_executor.layers.linear import ColumnParallelLinear
        from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding
        from vllm.model_executor.model_loader.utils import configure_quant_config
        from vllm.model_executor.models.utils import WeightsMapper

        self.version, self.words = vllm.__version__, {
            "linear": "Linear", "experts": "RoutedExperts", "head": "ParallelLMHead", "embedding": "VocabParallelEmbedding"}
        self.classes = {"linear": ColumnParallelLinear, "experts": RoutedExperts, "head": ParallelLMHead,
                        "embedding": VocabParallelEmbedding}
        self.config, self.configure, self.mapper, self.dtype = vllm_config, configure_quant_config, WeightsMapper, torch.bfloat16
        for method in ("fbgemm_fp8", "quark", "inc"):
            quantization.get_quantization_config(method)
        import vllm.model_executor.layers.quantization.inc.schemes.inc_wna16_scheme as wna16
        import vllm.model_executor.layers.quantization.inc.schemes.factory as factory
        quark.QuarkConfig.init_scheme = lambda self, cls, **k: None      # kernels
        quark.QuarkMoEMethod.get_moe_method = staticmethod(lambda *a, **k: quark.QuarkMoEMethod.__new__(quark.QuarkMoEMethod))
        quark.QuarkMoEMethod.__abstractmethods__ = frozenset()
        known = factory.resolve_scheme

        class Scheme:
            def get_linear_method(self, *a):
                return self
            get_moe_method = get_linear_method

        factory.resolve_scheme = lambda layer: (known(layer), Scheme())[1]
        del wna16
        self.fused_experts = sys.modules["vllm.model_executor.layers.quantization.inc.inc"]
        for module in (quark, self.fused_experts):
            module.UnquantizedFusedMoEMethod = type("UnquantizedFusedMoEMethod", (), {"__init__": lambda self, *a: None})

    def build(self, method, description, fused, renames):
        description = json.loads(json.dumps(description))
        hf = types.SimpleNamespace(architectures=["Made"], model_type="made")
        if method != "modelslim":
            hf.quantization_config = description
        config = object.__new__(self.config.ModelConfig)
        arch = types.SimpleNamespace(quantization_config=getattr(hf, "quantization_config", None))
        for key, value in dict(hf_config=hf, model_arch_config=arch, quantization=None, quantization_config=None, model="made",
                               allow_deprecated_quantization=False, dtype=self.dtype, hf_overrides={}, revision=None).items():
            object.__setattr__(config, key, value)
        stage = "ModelConfig"
        try:
            config._verify_quantization()
            stage = "VllmConfig"
            built = self.config.VllmConfig._get_quantization_config(config, types.SimpleNamespace(download_dir=None))
        except Exception as error:
            raise Checked(stage, error) from error
        if built is None:
            return None
        model = type("Made", (), {"packed_modules_mapping": {k: list(v) for k, v in fused.items()}})
        if renames:
            model.hf_to_vllm_mapper = self.mapper(**renames)
        self.configure(built, model)
        return built

    def ask(self, config, name, kind):
        if config is None:
            return "none"
        return self.word(config.get_quant_method(bare(self.classes[kind], moe_config=None), name))


class Transformers:
    """A tree of the modules that are asked; what the quantizer replaced. Experts stay one module, fused names apart."""

    def __init__(self):
        import torch
        import transformers
        from transformers.quantizers.auto import AutoHfQuantizer, AutoQuantizationConfig
        from transformers.integrations import fbgemm_fp8

        fbgemm_fp8.get_quantize_fp8_per_row = lambda: None      # a kernel of the hub
        self.version, self.words = transformers.__version__, {"linear": "Linear", "experts": "Experts", "head": "Head"}
        self.torch, self.quantizer, self.read = torch, AutoHfQuantizer, AutoQuantizationConfig.from_dict

    def build(self, method, description, fused, renames):
        if method == "modelslim":
            return None
        description = json.loads(json.dumps(description))
        if not self.quantizer.supports_quant_method(description):
            return None
        config = self.read(description)
        quantizer = self.quantizer.from_config(config, pre_quantized=True)
        return quantizer        # what it asks of the machine is left out

    def tree(self, names):
        torch = self.torch
        from transformers import PretrainedConfig, PreTrainedModel

        class Made(PreTrainedModel):
            config_class = PretrainedConfig

            def get_output_embeddings(self):
                return getattr(self, "lm_head", None)

        with torch.device("meta"):
            model = Made(PretrainedConfig())
            # The head comes last, as in every causal model: the quantizer keeps the last module by default.
            for name, kind in [*(n for n in names if n[0] != "lm_head"), ("lm_head", "head")]:
                at = model
                *above, leaf = name.split(".")
                for segment in above:
                    if segment not in dict(at.named_children()):
                        at.add_module(segment, torch.nn.Module())
                    at = getattr(at, segment)
                if leaf not in dict(at.named_children()):
                    at.add_module(leaf, torch.nn.Module() if kind == "experts" else torch.nn.Linear(64, 64, bias=False))
            model.post_init()
        return model

    def all(self, quantizer, names):
        model = self.tree(names)
        if quantizer is not None:
            quantizer.preprocess_model(model, device_map=None)
        found = dict(model.named_modules())
        for name, kind in names:
            layer = found.get(name)
            if layer is None or (kind != "experts" and "Linear" not in type(layer).__name__):
                continue
            replaced = kind != "experts" and type(layer) is not self.torch.nn.Linear
            yield name, kind, "none" if quantizer is None else "quant" if replaced else "skip"


ENGINES = {"sglang": Sglang, "vllm": Vllm, "transformers": Transformers}


def apart(names):
    """Fused names as their parts, as transformers builds them."""
    for name, kind in names:
        head, _, leaf = name.rpartition(".")
        if kind == "embedding" or (kind == "head" and name != "lm_head"):
            continue
        for part in method_cases.PARTS.get(leaf, [leaf]):
            yield (f"{head}.{part}" if head else part), kind


def main():
    name = sys.argv[1]
    engine = ENGINES[name]()
    descriptions, rows = {}, []
    for method, count in COUNTS.items():
        count = FEW[name].get(method, count)
        for number, (description, fused, mapper, asked) in enumerate(method_cases.cases(method, count, QUESTIONS)):
            key = f"{method}-{number}"
            if name == "transformers":
                fused, mapper, asked = "empty", None, list(dict.fromkeys(apart(asked)))
            descriptions[key] = description
            row = {"fn": "get_quant_method", "description": key, "map": fused}
            if method == "modelslim":
                row["file"] = "quant_model_description.json"
            if mapper:
                row["mapper"] = mapper
            try:
                config = engine.build(method, description, method_cases.MAPS[fused], method_cases.MAPPERS.get(mapper))
            except Exception as error:  # the engine's refusal is an answer
                rows.append({**row, "result": "error", "error": failed(error)})
                continue
            if name == "transformers":
                try:
                    answers = list(engine.all(config, asked))
                except Exception as error:
                    rows.append({**row, "result": "error", "error": failed(error)})
                    continue
            else:
                answers = []
                for module, kind in asked:
                    try:
                        answers.append((module, kind, engine.ask(config, module, kind)))
                    except Exception as error:
                        answers.append((module, kind, failed(error)))
            for module, kind, answer in answers:
                answer = {"result": answer} if ":" not in answer else {"result": "error", "error": answer}
                if method == "quark" and name == "sglang":      # `layer_type_quant_config` asks for it
                    row["type"] = engine.class_of(module, kind).__name__
                rows.append({**row, "prefix": module, "layer": engine.words[kind], **answer})
    header = {"recorded": "2026-11-28, tests/oracle/recorders/record_methods.py", "engine": name, "version": engine.version, "also": sys.argv[2:],
              "maps": method_cases.MAPS, "mappers": method_cases.MAPPERS, "descriptions": descriptions}
    print(json.dumps(header, separators=(",", ":")))
    for row in rows:
        print(json.dumps(row, separators=(",", ":")))


if __name__ == "__main__":
    main()
