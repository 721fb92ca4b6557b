# SPDX-License-Identifier: Apache-2.0
"""Rules → plans → decisions: ferrule.h in Python."""
import json
from dataclasses import dataclass
from typing import Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from ._library import Error, Handle, LIB, array, checked, counted, path_bytes, taken, text_bytes, texts

_ALLOW_ERRORS = 1


@dataclass(frozen=True)
class Finding:
    """What was found in rules or checkpoint: `ferrule explain CODE` says more."""
    code: str  # FR301
    slug: str  # real-declared-fused
    level: str  # error, warning or note
    message: str
    where: str  # file:line:column or file#/json/pointer


@dataclass(frozen=True)
class RankRows:
    """What one rank holds of a module's [rows, in] matrix."""
    rows: Tuple[Tuple[int, int], ...]  # begin, end; in the order of the rank's output
    first_column: int
    end_column: int


@dataclass(frozen=True)
class Decision:
    """One linear, or a fused name over several, and why it runs as it does."""
    module: str  # its path in the checkpoint, or the fused name
    kind: str  # rows, unified or fused
    scheme: str  # bf16, fp8_block, fp8_channel, fp8_tensor or another name
    claim: str  # by config.json and the rules
    stored: str  # by the headers; '' without headers
    dtype: str  # safetensors name of the weight's dtype, '' if unknown
    parts: Tuple[str, ...]  # of a fused module, in order
    block: Optional[Tuple[int, int]]  # rows, columns of fp8_block
    shape: Tuple[int, ...]  # rows, in; stacked experts: experts, rows, in
    ranks: Tuple[RankRows, ...]  # one for each rank
    reason: str  # 'listed', 'not listed', 'never quantized' …
    entry: str  # of the skip list, '' when none matched
    entry_index: int  # -1 when none matched
    rule_file: str
    rule_line: int
    tensor: str  # the stored weight

    @property
    def quantized(self) -> bool:
        return self.scheme != 'bf16'

    @property
    def why(self) -> str:
        """One line: reason, entry, rule."""
        entry = f' by {self.entry!r} [{self.entry_index}]' if self.entry else ''
        return f'{self.reason}{entry} ({self.rule_file}:{self.rule_line})'


@dataclass(frozen=True)
class EngineDecision:
    """One module as a serving engine builds it: the keys of `modules` under `as` in README."""
    name: str  # in the engine
    layer: str  # linear, experts, head or embedding
    draft: bool
    asked: bool  # False: built without the quantization config
    result: str  # skip, quant, none, error or unsupported
    word: str
    error: Optional[str]
    refusal: Optional[str]
    stored: Optional[str]  # scheme of all of `modules`
    widened: bool
    verdict: str  # alike, otherwise, refuses or unknown
    modules: Tuple[str, ...]  # of the checkpoint, in order; of experts those of expert 0


@dataclass(frozen=True)
class EnginePlan:
    """A plan as one version of a serving engine would make it."""
    engine: str
    version: str
    refusal: Optional[str]  # what the engine says instead of building the model
    modules: Tuple[EngineDecision, ...]
    findings: Tuple[Dict, ...]  # as in `ferrule plan -f json`

    @property
    def has_errors(self) -> bool:
        return any(finding['level'] == 'error' for finding in self.findings)


@dataclass(frozen=True)
class Answer:
    verdict: str  # skip, quant or error
    reason: str
    code: Optional[str]  # of an error: FR403


class Plan(Handle, Mapping):
    """What every linear of a checkpoint is: a mapping of paths to decisions. Immutable, thread-safe.

    `plan[path]` raises KeyError for what is no linear of the model, naming what was probably meant.
    """

    def __init__(self, book, pointer):
        super().__init__(pointer, 'plan_free')
        self._book = book
        self._names = None

    def scheme(self, module: str) -> str:
        """The scheme in which a module runs, also a container of experts; '' when the model has no
        such module, or for a fused name whose parts run apart. A microsecond."""
        return LIB.ferrule_plan_scheme(self._pointer, text_bytes(module)).decode()

    def __getitem__(self, module: str) -> Decision:
        try:
            found = checked('plan_decision', self._pointer, text_bytes(module))
        except Error as error:
            raise KeyError(str(error)) from None
        try:
            return _decision(found.contents)
        finally:
            LIB.ferrule_decision_free(found)

    def __contains__(self, module) -> bool:
        try:
            return bool(self[module])
        except (KeyError, TypeError, ValueError):
            return False

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self):
        if self._names is None:
            self._names = texts(*counted('plan_modules', self._pointer))
        return self._names

    @property
    def findings(self) -> Tuple[Finding, ...]:
        found, count = counted('plan_findings', self._pointer)
        return tuple(Finding(*(getattr(found[i].contents, name).decode()
                               for name in ('code', 'slug', 'level', 'message', 'where')))
                     for i in range(count))

    @property
    def has_errors(self) -> bool:
        """Only of a plan that was made with allow_errors."""
        return LIB.ferrule_plan_has_errors(self._pointer) != 0

    @property
    def tp(self) -> int:
        return LIB.ferrule_plan_tp(self._pointer)

    @property
    def summary(self) -> str:
        """One line for the log of a server."""
        return LIB.ferrule_plan_summary(self._pointer).decode()

    @property
    def sha(self) -> str:
        """Equal on all ranks that made the same plan: compare before loading."""
        return LIB.ferrule_plan_sha(self._pointer).decode()

    @property
    def counts(self) -> Dict[str, int]:
        """Scheme → number of modules as a server builds them: fused ones once, their parts not."""
        return self.to_dict()['schemes']

    def report(self) -> str:
        """The table of `ferrule plan`."""
        return taken(LIB.ferrule_plan_report(self._pointer))

    def to_dict(self, expand: bool = False) -> dict:
        """As `ferrule plan -f json`; `expand`: an entry for each module."""
        return json.loads(taken(LIB.ferrule_plan_json(self._pointer, int(expand))))

    def as_engine(self, engine: str) -> EnginePlan:
        """What `engine`, as 'sglang@0.5.23', would do with this checkpoint: every module that it
        builds, under its own name. Error when the engine or the model in it is not described."""
        text = taken(checked('plan_as_json', self._book._pointer, self._pointer, text_bytes(engine), 1))
        answer = json.loads(text)
        modules = tuple(_engine_module(module) for module in answer['as']['modules'])
        return EnginePlan(answer['as']['engine'], answer['as']['version'], answer['as']['refusal'], modules,
                          tuple(answer['findings']))

    def load(self, module: str, rank: int = 0) -> 'Linear':
        """The weights of one module, as `rank` holds them, ready to run on the CPU."""
        from ._linear import Linear
        return Linear(self, module, rank)

    def __repr__(self) -> str:
        return f'<ferrule.Plan {self.summary}>'

    __hash__ = object.__hash__
    __eq__ = object.__eq__


class RuleBook(Handle):
    """The installed rules, and directories whose files win over them. Read and checked once; any
    mistake in any file is an Error that says all of them. Immutable, thread-safe.

        book = ferrule.RuleBook()
        plan = book.plan('/models/Qwen3-Next-FP8', tp=4)   # Error: rules or checkpoint are wrong
        log(plan.summary)
        plan['model.layers.0.linear_attn.in_proj_ba'].scheme   # 'bf16'
    """

    def __init__(self, *directories):
        names = [path_bytes(directory) for directory in directories]
        super().__init__(checked('book_load', array(names), len(names)), 'book_free')

    @property
    def model_types(self) -> List[str]:
        return texts(*counted('book_model_types', self._pointer))

    def plan(self, directory, tp: int = 1, allow_errors: bool = False) -> Plan:
        """Reads config.json and headers of a checkpoint directory or header fixture and decides.

        Error when anything at error level was found. `allow_errors`: a plan nevertheless, for tools
        that show them; it is never loaded or run.
        """
        flags = _ALLOW_ERRORS if allow_errors else 0
        return Plan(self, checked('plan_make', self._pointer, path_bytes(directory), _tp(tp), flags))

    def ask(self, module: str, ignore: Sequence[str] = (), quant_method: str = 'fp8', **more) -> Answer:
        """Whether a skip list names a module, without a checkpoint: one row of `ferrule decide`.

        `more`: fused={'qkv_proj': ['q_proj', …]}, disk=[modules that are stored], disk_dtype, renames,
        include, … as README names them.
        """
        question = {'module': module, 'ignore': list(ignore), 'quant_method': quant_method, **more}
        text = taken(checked('ask', self._pointer, json.dumps(question).encode()))
        return Answer(**json.loads(text))

    def __repr__(self) -> str:
        return f'<ferrule.RuleBook of {len(self.model_types)} model types>'


def _tp(tp):
    if isinstance(tp, bool) or not isinstance(tp, int):
        raise TypeError(f'tp is a whole number, not {tp!r}')
    return max(-1, min(tp, 2 ** 31 - 1))  # what is too large stays so


def _engine_module(module):
    return EngineDecision(**{**module, 'modules': tuple(module['modules'])})


def _decision(found):
    def text(name):
        return getattr(found, name).decode()

    ranks = []
    for r in range(found.rank_count):
        rank = found.ranks[r].contents
        rows = tuple((rank.rows[2 * i], rank.rows[2 * i + 1]) for i in range(rank.row_ranges))
        ranks.append(RankRows(rows, rank.first_column, rank.end_column))
    return Decision(
        module=text('module'), kind=text('kind'), scheme=text('scheme'), claim=text('claim'),
        stored=text('stored'), dtype=text('dtype'), parts=tuple(texts(found.parts, found.part_count)),
        block=(found.block_rows, found.block_columns) if found.block_rows else None,
        shape=tuple(found.shape[:found.shape_count]), ranks=tuple(ranks), reason=text('reason'),
        entry=text('entry'), entry_index=found.entry_index, rule_file=text('rule_file'),
        rule_line=found.rule_line, tensor=text('tensor'))
