# SPDX-License-Identifier: Apache-2.0
"""Weights of one module and y = x · Wᵀ on the CPU: load.h in Python, without numpy or torch."""
from ctypes import c_byte

from ._library import Handle, LIB, checked, text_bytes


class Pool(Handle):
    """Threads that linears may use; `threads` counts the caller's. Not to be used after a fork."""

    def __init__(self, threads: int):
        super().__init__(checked('pool_create', max(1, min(int(threads), 256))), 'pool_free')


class Linear(Handle):
    """What one rank holds of a module. Owns its memory; may be run from many threads at once."""

    def __init__(self, plan, module: str, rank: int = 0):
        if isinstance(rank, bool) or not isinstance(rank, int):
            raise TypeError(f'rank is a whole number, not {rank!r}')
        rank = max(-1, min(rank, 2 ** 31 - 1))
        super().__init__(checked('linear_load', plan._pointer, text_bytes(module), rank), 'linear_free')
        self.name = module

    @property
    def rows(self) -> int:
        """Output rows of this rank: columns of y."""
        return LIB.ferrule_linear_rows(self._pointer)

    @property
    def columns(self) -> int:
        """Columns of x that this rank needs."""
        return LIB.ferrule_linear_columns(self._pointer)

    @property
    def first_column(self) -> int:
        """Of the whole x: 0 unless ranks are cut by columns; their outputs are then summed."""
        return LIB.ferrule_linear_first_column(self._pointer)

    @property
    def bytes(self) -> int:
        return LIB.ferrule_linear_bytes(self._pointer)

    def __call__(self, x, pool: Pool = None) -> memoryview:
        """y = x · Wᵀ, biases of the checkpoint included.

        `x`: BF16 [tokens, columns], cut to this rank's columns: any object with a buffer of two-byte
        items (array('H'), a numpy array of uint16, a torch tensor by `x.view(torch.uint16).numpy()`)
        or of bytes, in C order. Returns float32 [tokens, rows] as a memoryview: numpy.asarray(y) and
        torch.frombuffer(y, dtype=torch.float32) take it without a copy.
        """
        view = memoryview(x)
        if not view.c_contiguous:
            raise ValueError('x must lie in C order, without gaps')
        if view.itemsize not in (1, 2) or view.format not in 'BbcHh':
            raise TypeError(f'x holds items of {view.itemsize} bytes, `{view.format}`; BF16 has 2: pass it as uint16')
        columns = self.columns
        if view.ndim > 1 and view.shape[-1] * view.itemsize != 2 * columns:
            raise ValueError(f'x has {view.shape[-1] * view.itemsize // 2} columns, {self.name} needs {columns}')
        if view.nbytes % (2 * columns) != 0:
            raise ValueError(f'x has {view.nbytes} bytes, which are no whole tokens of {columns} columns of BF16')
        tokens = view.nbytes // (2 * columns)
        y = bytearray(4 * tokens * self.rows)
        if tokens == 0:
            return memoryview(y)
        source = view.cast('B') if view.readonly is False else bytearray(view.cast('B'))
        checked('linear_run', self._pointer, (c_byte * view.nbytes).from_buffer(source), tokens, columns,
                (c_byte * len(y)).from_buffer(y), self.rows, None if pool is None else pool._pointer)
        return memoryview(y).cast('f', (tokens, self.rows))

    def __repr__(self) -> str:
        return f'<ferrule.Linear {self.name} [{self.rows}, {self.columns}]>'
