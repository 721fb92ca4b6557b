# SPDX-License-Identifier: Apache-2.0
"""vLLM: its own command line, VllmConfig, quantization config and model class, on the meta device."""
import os
import sys

import no_gpu
from stand_ins import StandIns

NAME = 'vllm'


def load(capability):
    os.environ['VLLM_LOGGING_LEVEL'] = 'ERROR'
    no_gpu.pretend(capability)
    for kernels in ('flashinfer', 'deep_gemm'):  # they look for a GPU when they are imported
        sys.modules[kernels] = None
    sys.meta_path.insert(0, StandIns('cutlass'))
    import vllm.platforms
    from vllm.platforms.cuda import NonNvmlCudaPlatform
    from vllm.platforms.interface import DeviceCapability

    class Platform(NonNvmlCudaPlatform):
        get_device_capability = classmethod(lambda cls, device_id=0: DeviceCapability(*capability))
        get_device_name = classmethod(lambda cls, device_id=0: 'NVIDIA H200')
        get_device_total_memory = classmethod(lambda cls, device_id=0: no_gpu.MEMORY)
        is_fully_connected = classmethod(lambda cls, ids: True)
        set_device = classmethod(lambda cls, device: None)

    vllm.platforms._current_platform = Platform()
    import vllm
    import vllm.engine.arg_utils
    import vllm.model_executor.model_loader.utils
    import vllm.model_executor.models.registry as registry
    registry._run_in_subprocess = lambda function: function()
    return vllm.__version__


def arguments(directory, words):
    return ['--model', directory, '--skip-tokenizer-init', '--load-format', 'dummy', '--enforce-eager',
            '--max-model-len', '1024', '--distributed-executor-backend', 'mp', *words]


def groups():
    import vllm.distributed.parallel_state as parallel
    from vllm.distributed import init_distributed_environment, initialize_model_parallel
    start = parallel.GroupCoordinator.__init__

    def alone(self, *given, **words):
        if 'use_device_communicator' in words:
            words['use_device_communicator'] = False
        return start(self, *given, **words)

    parallel.GroupCoordinator.__init__ = alone
    init_distributed_environment(world_size=1, rank=0, distributed_init_method='tcp://127.0.0.1:1', local_rank=0,
                                 backend='nccl')
    initialize_model_parallel(1)


def plain_method(layer):
    """What comes after the decision chooses kernels: the layer keeps the method of BF16."""
    from vllm.model_executor.layers.linear import LinearBase, UnquantizedLinearMethod
    from vllm.model_executor.layers.vocab_parallel_embedding import (
        UnquantizedEmbeddingMethod, VocabParallelEmbedding)
    if isinstance(layer, LinearBase):
        return UnquantizedLinearMethod()
    if isinstance(layer, VocabParallelEmbedding):
        return UnquantizedEmbeddingMethod()
    from vllm.model_executor.layers.fused_moe.unquantized_fused_moe_method import UnquantizedFusedMoEMethod
    return UnquantizedFusedMoEMethod(layer.moe_config) if hasattr(layer, 'moe_config') else None


def build(directory, words, mapping):
    import torch
    from vllm.config import set_current_vllm_config
    from vllm.engine.arg_utils import EngineArgs
    from vllm.model_executor.layers.fused_moe.routed_experts import RoutedExperts
    from vllm.model_executor.layers.linear import LinearBase
    from vllm.model_executor.layers.quantization.base_config import QuantizationConfig
    from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding
    from vllm.model_executor.model_loader.utils import get_model_architecture, initialize_model
    from vllm.transformers_utils.config import _CONFIG_REGISTRY
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    no_gpu.known_type(directory, _CONFIG_REGISTRY)
    parser = EngineArgs.add_cli_args(FlexibleArgumentParser())
    config = EngineArgs.from_cli_args(parser.parse_args(arguments(directory, words))).create_engine_config()
    log = no_gpu.Log()
    with set_current_vllm_config(config):
        groups()
        if mapping is not None:
            get_model_architecture(config.model_config)[0].packed_modules_mapping = mapping
        log.watch(QuantizationConfig, lambda layer, method, word: plain_method(layer))
        torch.set_default_dtype(torch.bfloat16)
        with torch.device('meta'):
            model = initialize_model(vllm_config=config)
    layers = [log.answer(layer, path, getattr(layer, 'prefix', None)) for path, layer in model.named_modules()
              if isinstance(layer, (LinearBase, RoutedExperts, VocabParallelEmbedding))]
    return {'class': type(model).__name__, 'config': type(config.quant_config).__name__, 'layers': layers}
