# SPDX-License-Identifier: Apache-2.0
"""Serving engines build their models for a GPU. Here none is needed: torch answers as if it saw one,
tensors for it go to the meta device, and process groups are torch's `fake` ones. What an engine
decides about a layer is not touched."""
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

MEMORY, MULTIPROCESSORS = 141 << 30, 132
# Functions of the driver (`cu…`) that the engines' kernels are linked to.
DRIVER = '''
CtxFromGreenCtx CtxPopCurrent_v2 CtxPushCurrent_v2 DevResourceGenerateDesc DevSmResourceSplitByCount
DeviceGetDevResource DriverGetVersion GetErrorString GetProcAddress_v2 GetProcAddress GreenCtxCreate
GreenCtxDestroy GreenCtxGetDevResource PointerGetAttribute StreamCreate Init DeviceGet DeviceGetCount
DeviceGetAttribute TensorMapEncodeTiled CtxGetCurrent CtxGetDevice ModuleLoadData ModuleGetFunction
LaunchKernelEx LaunchKernel FuncSetAttribute LibraryLoadFromFile MemcpyHtoDAsync_v2 MemcpyDtoHAsync_v2 MemCreate
MemMap MemUnmap MemRelease MemAddressReserve MemAddressFree MemSetAccess MemGetAllocationGranularity
MemExportToShareableHandle MemImportFromShareableHandle MulticastCreate MulticastBindMem MulticastAddDevice
StreamWriteValue32_v2 StreamWaitValue32_v2
'''


def driver_folder():
    """A folder with a libcuda.so.1 that finds no GPU, for kernels that are linked to it and never run; '' without a compiler."""
    compiler = shutil.which('cc') or shutil.which('gcc')
    if compiler is None:
        return ''
    folder = Path(tempfile.mkdtemp(prefix='ferrule-driver-'))
    (folder / 'none.c').write_text(''.join(f'int cu{name}(void) {{ return 100; }}\n' for name in DRIVER.split()))
    built = subprocess.run([compiler, '-shared', '-fPIC', '-Wl,-soname,libcuda.so.1', '-o', folder / 'libcuda.so.1',
                            folder / 'none.c'], capture_output=True, check=False)
    if built.returncode == 0:
        (folder / 'libcuda.so').symlink_to('libcuda.so.1')
    return str(folder) if built.returncode == 0 else ''


def pretend(capability):
    """torch.cuda describes one kind of GPU; tensors for it go to the meta device."""
    import torch
    from torch.overrides import TorchFunctionMode
    from torch.testing._internal.distributed.fake_pg import FakeStore

    class Properties:
        name, total_memory, multi_processor_count = 'NVIDIA H200', MEMORY, MULTIPROCESSORS
        major, minor = capability
        warp_size, L2_cache_size, shared_memory_per_block_optin = 32, 50 << 20, 232448
        max_threads_per_multi_processor, regs_per_multiprocessor = 2048, 65536
        gcnArchName, uuid = '', 'x'

    class Stream:
        cuda_stream = 0

        def __init__(self, *_, **__):
            pass

        def wait_stream(self, *_):
            pass

        def synchronize(self, *_):
            pass

    answers = {'is_available': True, 'device_count': 8, 'current_device': 0, 'set_device': None,
               'get_device_properties': Properties(), 'get_device_capability': capability,
               'get_device_name': Properties.name, 'mem_get_info': (MEMORY, MEMORY), 'synchronize': None,
               'empty_cache': None, '_lazy_init': None, 'current_stream': Stream(), 'default_stream': Stream()}
    for name, answer in answers.items():
        setattr(torch.cuda, name, lambda *_, _answer=answer, **__: _answer)
    torch.cuda.Stream = torch.cuda.Event = Stream

    def is_gpu(value):
        return (isinstance(value, str) and value.startswith('cuda')) or (
            isinstance(value, torch.device) and value.type == 'cuda')

    def is_index(value):  # of a GPU, as torch.cuda.current_device() gives it
        return isinstance(value, int) and not isinstance(value, bool)

    class ToMeta(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            kwargs = dict(kwargs or {})
            if is_gpu(kwargs.get('device')) or is_index(kwargs.get('device')):
                kwargs['device'] = 'meta'
            if kwargs.get('pin_memory'):
                kwargs['pin_memory'] = False
            name = getattr(func, '__name__', '')
            if name == 'cuda':
                return args[0].to('meta')
            if name == 'to':
                args = tuple('meta' if is_gpu(value) else value for value in args)
            return func(*args, **kwargs)

    ToMeta().__enter__()
    without_compiler(capability)
    init, group = torch.distributed.init_process_group, torch.distributed.new_group

    def fake_init(*_, **words):
        return init(backend='fake', store=FakeStore(), rank=0, world_size=words.get('world_size', 1))

    def fake_group(*arguments, **words):
        words['backend'] = 'fake'
        words.pop('pg_options', None)
        words.pop('device_id', None)
        return group(*arguments, **words)

    torch.distributed.init_process_group, torch.distributed.new_group = fake_init, fake_group


def without_compiler(capability):
    """Triton names the GPU that it would compile for; it compiles nothing."""
    from triton.backends.compiler import GPUTarget
    from triton.runtime.driver import driver

    class Driver:
        def __init__(self):
            self.target = GPUTarget('cuda', capability[0] * 10 + capability[1], 32)

        def get_current_target(self):
            return self.target

        def get_current_device(self):
            return 0

        def get_active_torch_device(self):
            import torch
            return torch.device('cuda', 0)

    driver.set_active(Driver())


class Keys(dict):
    """A part of config.json whose keys are attributes, as a release's own code would read it."""

    def __getattr__(self, key):
        try:
            return self[key]
        except KeyError:
            raise AttributeError(key) from None


def keys(value):
    if isinstance(value, dict):
        return Keys({key: keys(below) for key, below in value.items()})
    return [keys(below) for below in value] if isinstance(value, list) else value


def known_type(directory, known):
    """Makes a config class for a model_type that only the release's own Python code describes."""
    from transformers import AutoConfig, PretrainedConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    path = os.path.join(directory, 'config.json')
    with open(path, encoding='utf-8') as file:
        config = json.load(file)
    kind = config.get('model_type')
    if kind is None or kind in CONFIG_MAPPING or kind in known:
        return

    class Plain(PretrainedConfig):
        model_type = kind

        def __init__(self, **words):
            blocks = words.pop('block_configs', None)
            if not words.get('rope_parameters') and 'rope_theta' in words:
                words['rope_parameters'] = {'rope_theta': words['rope_theta'], 'rope_type': 'default'}
            words.setdefault('pad_token_id', 0)
            super().__init__(**words)
            for key, value in words.items():
                if not hasattr(self, key):
                    setattr(self, key, value)
            if blocks:
                self.block_configs = keys(blocks)

    AutoConfig.register(kind, Plain)
    config.pop('auto_map', None)
    with open(path, 'w', encoding='utf-8') as file:
        json.dump(config, file)


def below(owner):
    for child in owner.__subclasses__():
        yield child
        yield from below(child)


class Log:
    """Which method the quantization config gave each layer; the first question of nested ones counts."""

    def __init__(self):
        self.given, self.kept, self.depth = {}, [], 0

    def watch(self, base, instead):
        """Every quantization config there is: a model may ask another one than it was given."""
        for owner in {base, *below(base)}:
            if 'get_quant_method' in vars(owner):
                owner.get_quant_method = self.watched(owner.get_quant_method, instead)

    def watched(self, ask, instead):
        def asked(config, layer, prefix='', *more, **words):
            self.depth += 1
            try:
                method = ask(config, layer, prefix, *more, **words)
                word = type(method).__name__ if method is not None else None
            except Exception as error:  # the engine's own answer too
                text = str(error).splitlines()
                method, word = None, f'error {type(error).__name__}: {text[0] if text else ""}'
            finally:
                self.depth -= 1
            if self.depth > 0:
                return method
            self.given[id(layer)] = (prefix, word)
            self.kept.append(layer)
            return instead(layer, method, word)

        return asked

    def answer(self, layer, path, own=None):
        """[name, result, method] of a layer: under the name that was asked, else its path."""
        if id(layer) not in self.given:
            return [own or path, 'none', 'not asked']
        name, word = self.given[id(layer)]
        if word is None:
            return [name, 'none', 'none']
        if word.startswith('error'):
            return [name, 'error', word[6:]]
        return [name, 'skip' if word.startswith('Unquantized') else 'quant', word]
