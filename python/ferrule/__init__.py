# SPDX-License-Identifier: Apache-2.0
"""ferrule: which linears of a quantized checkpoint run in FP8 and which in BF16, and why.

    import ferrule

    plan = ferrule.RuleBook().plan('/models/Qwen3-Next-80B-A3B-Instruct-FP8', tp=4)
    plan.summary                                             # one line for the log
    plan['model.layers.0.linear_attn.in_proj_ba'].scheme     # 'bf16'
    plan.scheme('model.layers.0.mlp.experts')                # 'fp8_block': all experts agree
    plan.as_engine('sglang@0.5.23').modules                  # what that engine would do
    plan.load('model.layers.3.self_attn.qkv_proj')(x)        # y = x · Wᵀ on the CPU

Needs libferrule.so of the same release (`meson install`) and nothing else. What ferrule refuses is a
ferrule.Error whose text is what the command line would print. Everything is immutable and may be
used from many threads; planning, loading and running let other Python threads go on.
"""
from ._library import Error, LIB
from ._linear import Linear, Pool
from ._plan import (Answer, Decision, EngineDecision, EnginePlan, Finding, Plan, RankRows, RuleBook)

__version__ = LIB.ferrule_version().decode()
__all__ = ['Answer', 'Decision', 'EngineDecision', 'EnginePlan', 'Error', 'Finding', 'Linear', 'Plan', 'Pool',
           'RankRows', 'RuleBook']
