# SPDX-License-Identifier: Apache-2.0
"""transformers, and the compressed-tensors library as it uses it: the architecture's class on the meta device, then the
quantizer of the description, which replaces the modules that it quantizes."""
import no_gpu


def load(capability):
    no_gpu.pretend(capability)
    import transformers
    import transformers.quantizers.auto
    return transformers.__version__


def model_class(config):
    """The class by its name, else the one that loads this config."""
    import transformers
    named = getattr(transformers, config.architectures[0], None)
    if named is not None:
        return named
    from transformers.models.auto import modeling_auto
    for table in ('MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING', 'MODEL_FOR_MULTIMODAL_LM_MAPPING', 'MODEL_FOR_CAUSAL_LM_MAPPING'):
        known = getattr(modeling_auto, table, {})
        if type(config) in known:
            return known[type(config)]
    raise ValueError(f'transformers has no class {config.architectures[0]}')


def widens_experts(model, quantizer):
    """Whether the weights of routed experts are dequantized when they are loaded."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    rules = [rule for rule in get_model_conversion_mapping(model, hf_quantizer=quantizer)
             if any('experts' in source for source in rule.source_patterns)]
    names = [type(operation).__name__ for rule in rules for operation in getattr(rule, 'operations', [])]
    return 'CompressedTensorsDequantize' in names or 'DecompressExperts' in names


def linears(model):
    import torch
    return [(path, module) for path, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) or path.endswith('.experts')]


def build(directory, words, mapping):
    import torch
    from transformers import AutoConfig
    from transformers.quantizers.auto import AutoHfQuantizer

    config = AutoConfig.from_pretrained(directory)
    description = getattr(config, 'quantization_config', None) or getattr(
        config.get_text_config(), 'quantization_config', None)
    with torch.device('meta'):
        model = model_class(config)(config)
    if description is None or not AutoHfQuantizer.supports_quant_method(description):
        layers = [[path, 'none', 'no quantizer'] for path, _ in linears(model)]
        return {'class': type(model).__name__, 'config': 'none', 'layers': layers}
    quantizer = AutoHfQuantizer.from_config(description, pre_quantized=True)
    try:
        quantizer.validate_environment(device_map={'': 0}, weights_only=True)
    except ImportError:  # a package of kernels
        pass
    before = {path: type(module) for path, module in linears(model)}
    with torch.device('meta'):
        quantizer.preprocess_model(model=model, dtype=torch.bfloat16, device_map=None, checkpoint_files=None)
    widened = widens_experts(model, quantizer)
    layers = []
    for path, kind in before.items():
        module = model.get_submodule(path)
        if type(module) is not kind or getattr(module, 'quantization_scheme', None) is not None:
            layers.append([path, 'quant', type(module).__name__])
        elif path.endswith('.experts') and widened:
            layers.append([path, 'widened', kind.__name__])
        else:
            layers.append([path, 'skip', kind.__name__])
    return {'class': type(model).__name__, 'config': type(quantizer).__name__, 'layers': layers}
