# SPDX-License-Identifier: Apache-2.0
"""SGLang: its own command line, ModelConfig, quantization config and model class, on the meta device."""
import logging

import no_gpu

NAME = 'sglang'


def load(capability):
    no_gpu.pretend(capability)
    logging.disable(logging.WARNING)
    import sglang.srt.configs.model_config
    import sglang.srt.layers.moe.fused_moe_triton.layer
    import sglang.srt.layers.quantization.fp8
    import sglang.srt.model_loader.loader
    import sglang.srt.models.deepseek_v2
    import sglang.srt.models.registry
    import sglang.srt.server_args
    import sglang
    without_files()
    try:
        import deep_gemm
        deep_gemm.get_num_sms = lambda: no_gpu.MULTIPROCESSORS
    except ImportError:
        pass
    return sglang.__version__


def arguments(directory, words):
    return ['--model-path', directory, '--skip-tokenizer-init', '--load-format', 'dummy', *words]


def without_files():
    """What MiMo reads beside the weights, and rope tables: neither asks how a layer is quantized."""
    import torch
    import sglang.srt.models.mimo_audio as audio
    import sglang.srt.models.mimo_v2 as mimo
    for owner in vars(audio).values():
        if isinstance(owner, type) and '_load_mimo_audio_tokenizer' in vars(owner):
            owner._load_mimo_audio_tokenizer = lambda *_, **__: torch.nn.Module()
    mimo.get_rope = lambda *_, **__: torch.nn.Module()


def without_shape_checks():
    """What does not fit blocks is another question; here the methods alone count."""
    import sglang.srt.layers.quantization.fp8 as fp8
    if hasattr(fp8.Fp8LinearMethod, 'validate_block_quant_shapes'):
        fp8.Fp8LinearMethod.validate_block_quant_shapes = staticmethod(lambda *_, **__: None)
    create = fp8.Fp8MoEMethod.create_weights

    def unchecked(self, *given, **words):
        try:
            return create(self, *given, **words)
        except ValueError:
            return None

    fp8.Fp8MoEMethod.create_weights = unchecked


def groups(server_args):
    import sglang.srt.distributed.parallel_state as parallel
    from sglang.srt.distributed import bootstrap
    from sglang.srt.layers.moe import initialize_moe_config
    start = parallel.GroupCoordinator.__init__

    def alone(self, *given, **words):
        for word in list(words):
            if word.startswith('use_'):
                words[word] = False
        return start(self, *given, **words)

    parallel.GroupCoordinator.__init__ = alone
    bootstrap._init_parallel_groups(backend='nccl', dist_init_method='tcp://127.0.0.1:1', server_args=server_args,
                                    gpu_id=0)
    try:
        initialize_moe_config()
    except TypeError:
        initialize_moe_config(server_args)
    return bootstrap


def build(directory, words, mapping):
    """What each layer of the model is, and the description that was read."""
    import torch
    from sglang.srt.configs.load_config import LoadConfig
    from sglang.srt.configs.model_config import ModelConfig
    from sglang.srt.layers.linear import LinearBase
    from sglang.srt.layers.quantization.base_config import QuantizationConfig
    from sglang.srt.layers.quantization.unquant import UnquantizedLinearMethod
    from sglang.srt.layers.moe.fused_moe_triton.layer import FusedMoE
    from sglang.srt.layers.vocab_parallel_embedding import VocabParallelEmbedding
    from sglang.srt.model_loader import loader
    from sglang.srt.model_loader.utils import get_model_architecture
    from sglang.srt.runtime_context import SpawnRanks, publish
    from sglang.srt.server_args import prepare_server_args

    no_gpu.known_type(directory, ())
    server_args = prepare_server_args(arguments(directory, words))
    logging.disable(logging.WARNING)
    publish(server_args, role='scheduler', ranks=SpawnRanks(world_rank=0, gpu_id=0))
    bootstrap = groups(server_args)
    model_config = ModelConfig.from_server_args(server_args)
    load_config = LoadConfig(load_format='dummy')
    bootstrap.init_layer_runtime(model_config=model_config)
    if mapping is not None:
        get_model_architecture(model_config)[0].packed_modules_mapping = mapping
    config = loader._get_quantization_config(model_config, load_config)
    log = no_gpu.Log()

    def instead(layer, method, word):
        failed = word is not None and word.startswith('error') and isinstance(layer, LinearBase)
        return UnquantizedLinearMethod() if failed else method

    log.watch(QuantizationConfig, instead)
    without_shape_checks()
    torch.set_default_dtype(torch.bfloat16)
    with torch.device('meta'):
        model = loader._initialize_model(model_config, load_config, config)
    layers = [log.answer(layer, path) for path, layer in model.named_modules()
              if isinstance(layer, (LinearBase, FusedMoE, VocabParallelEmbedding))]
    return {'class': type(model).__name__, 'config': type(config).__name__, 'layers': layers}
