# SPDX-License-Identifier: Apache-2.0
"""Times what serving engines run for linears in FP8 blocks, with the packages of this interpreter.

`ferrule bench --peers --python PYTHON` starts it with a request on standard input, in JSON:
  {"cells": [{"name": …, "tokens": M, "in": K, "rows": N, "copies": …}, …]}
and reads lines: number of the cell (0 …), PACKAGE, microseconds of a call and spread, with tabs between; or `# …`, why there
are none.

A call is what the engine's own function does: quantize x, multiply. Calls stand in a CUDA graph, `copies` weights in turn, so
that they come from memory; the median of ten replays counts. An output that is not near the product in float32 is not timed.
"""
import json
import os
import statistics
import sys
import time

REPLAYS, BLOCK, NEAR = 10, 128, 0.035  # E4M3 of x is 0.025 off
BLOCKS = [BLOCK, BLOCK]
# Else the first call of each shape compiles for every M to 16384. SGLang reads it when it is imported.
os.environ.setdefault('SGLANG_JIT_DEEPGEMM_PRECOMPILE', '0')


def deepgemm_takes(fp8_utils, shape, dtype):
    """Whether SGLang gives a weight to DeepGEMM. Up to 0.5.21 it has no function for that."""
    if hasattr(fp8_utils, '_deepgemm_block_fp8_supported'):
        return fp8_utils._deepgemm_block_fp8_supported(shape, BLOCKS, dtype)
    return str(dtype) == 'torch.bfloat16' and shape[0] % 64 == 0 and shape[1] % 128 == 0


def sglang_deepgemm():
    import deep_gemm
    from sglang.srt.layers import deep_gemm_wrapper
    from sglang.srt.layers.quantization import fp8_utils
    if not deep_gemm_wrapper.ENABLE_JIT_DEEPGEMM:
        raise RuntimeError('SGLang does not use DeepGEMM here')
    # What a server does when it starts, unless SGLANG_DEEPGEMM_PDL says otherwise (update_deep_gemm_config of
    # sglang/srt/layers/deep_gemm_wrapper/entrypoint.py, 0.5.17).
    if os.environ.get('SGLANG_DEEPGEMM_PDL', '1').lower() in ('1', 'true') and hasattr(deep_gemm, 'set_pdl'):
        deep_gemm.set_pdl(True)

    def linear(x, w, scale):
        if not deepgemm_takes(fp8_utils, w.shape, x.dtype):
            raise ValueError('DeepGEMM does not take it')  # else Triton would be timed
        return fp8_utils.deepgemm_w8a8_block_fp8_linear_with_fallback(x, w, BLOCKS, scale)
    return linear


def sglang_triton():
    from sglang.srt.layers.quantization.fp8_utils import triton_w8a8_block_fp8_linear as linear
    return lambda x, w, scale: linear(x, w, BLOCKS, scale)


def flashinfer():
    from flashinfer.gemm import fp8_blockscale_gemm_sm90 as linear
    return lambda x, w, scale: linear(x, w, None, scale)


PACKAGES = {'sglang deepgemm': sglang_deepgemm, 'sglang triton': sglang_triton, 'flashinfer': flashinfer}


def say(*fields):
    print(*fields, sep='\t', flush=True)


def reason(error):
    return ' '.join(f'{type(error).__name__}: {error}'.split())[:200]


def weights(torch, cell):
    """`copies` of (codes [N, K], scales [N/128, K/128])."""
    rows, width = cell['rows'], cell['in']
    shape = (-(-rows // BLOCK), -(-width // BLOCK))
    return [((torch.randn(rows, width, device='cuda') * 64).to(torch.float8_e4m3fn),
             torch.rand(*shape, device='cuda') * 1e-3 + 1e-4) for _ in range(cell['copies'])]


def error_of(torch, y, x, w, scale):
    exact = w.float() * scale.repeat_interleave(BLOCK, 0)[:w.shape[0]].repeat_interleave(BLOCK, 1)[:, :w.shape[1]]
    exact = x.float() @ exact.T
    return (torch.linalg.norm(y.float() - exact) / torch.linalg.norm(exact)).item()


def time_cell(torch, linear, cell, heat):
    """(microseconds of a call, spread)"""
    copies = weights(torch, cell)
    x = torch.randn(cell['tokens'], cell['in'], device='cuda').to(torch.bfloat16)
    for _ in range(3):  # compiles, chooses
        y = linear(x, *copies[0])
    error = error_of(torch, y, x, *copies[0])
    if not error < NEAR:
        raise ValueError(f'its output is {error:.3f} off')
    calls = max(16, len(copies))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(calls):
            linear(x, *copies[i % len(copies)])
    times, start = [], time.monotonic()
    while time.monotonic() - start < heat:
        graph.replay()
        torch.cuda.synchronize()
    for _ in range(REPLAYS):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) * 1e3 / calls)
    return statistics.median(times), max(times) / min(times) - 1


def main():
    asked = json.load(sys.stdin)
    cells, heat = asked['cells'], asked['heat_ms'] / 1000  # seconds of work before what counts
    for name, load in PACKAGES.items():
        try:
            import torch
            if not torch.cuda.is_available():
                raise RuntimeError('torch sees no GPU')
            linear = load()
        except Exception as error:  # a package may fail in any way when it is loaded
            say(f'# peer {name}: not there: {reason(error)}')
            continue
        for i, cell in enumerate(cells):
            try:
                us, spread = time_cell(torch, linear, cell, heat)
                say(i, name, f'{us:.2f}', f'{spread:.3f}')
            except Exception as error:
                say(f"# {cell['name']}\t{cell['tokens']}\tpeer {name}: {reason(error)}")


if __name__ == '__main__':
    main()
