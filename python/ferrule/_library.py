# SPDX-License-Identifier: Apache-2.0
"""libferrule.so, found and described to ctypes. The only module that knows ctypes.

Signatures are those of <ferrule/ferrule_c.h> and <ferrule/load_c.h>. ctypes gives the GIL back while
a function runs, so that planning, loading and linears of several threads run side by side.
"""
import ctypes
import os
import sysconfig
from ctypes import (POINTER, Structure, byref, c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint32,
                    c_uint64, c_void_p, string_at)
from pathlib import Path

ABI = 1  # FERRULE_ABI_VERSION of the headers that this file was written from
SONAME = 'libferrule.so.0'


class Error(Exception):
    """What ferrule refuses, as its command line says it: str() has many lines, ready to print.

    `blame` is the exit code of the command line: 1 a rule file, config.json or header is wrong, 2 a
    path that does not exist or a wrong call, 3 I/O, memory or a bug.
    """

    def __init__(self, message, blame=1):
        super().__init__(message)
        self.blame = blame


class _Finding(Structure):
    _fields_ = [(name, c_char_p) for name in ('code', 'slug', 'level', 'message', 'where')]


class _Rank(Structure):
    _fields_ = [('rows', POINTER(c_int64)), ('row_ranges', c_size_t), ('first_column', c_int64),
                ('end_column', c_int64)]


class _Decision(Structure):
    _fields_ = [('module', c_char_p), ('kind', c_char_p), ('scheme', c_char_p), ('claim', c_char_p),
                ('stored', c_char_p), ('dtype', c_char_p), ('parts', POINTER(c_char_p)),
                ('part_count', c_size_t), ('block_rows', c_int64), ('block_columns', c_int64),
                ('shape', POINTER(c_int64)), ('shape_count', c_size_t),
                ('ranks', POINTER(POINTER(_Rank))), ('rank_count', c_size_t), ('reason', c_char_p),
                ('entry', c_char_p), ('entry_index', c_int64), ('rule_file', c_char_p),
                ('rule_line', c_int64), ('tensor', c_char_p)]


_ERROR = POINTER(c_void_p)
_TEXTS = POINTER(c_char_p)
_SIGNATURES = {  # name: (result, arguments)
    'abi_version': (c_uint32, []),
    'version': (c_char_p, []),
    'error_blame': (c_int, [c_void_p]),
    'error_message': (c_char_p, [c_void_p]),
    'error_free': (None, [c_void_p]),
    'text_free': (None, [c_void_p]),
    'book_load': (c_void_p, [_TEXTS, c_size_t, _ERROR]),
    'book_model_types': (_TEXTS, [c_void_p, POINTER(c_size_t)]),
    'book_free': (None, [c_void_p]),
    'plan_make': (c_void_p, [c_void_p, c_char_p, c_int32, c_uint32, _ERROR]),
    'plan_free': (None, [c_void_p]),
    'plan_scheme': (c_char_p, [c_void_p, c_char_p]),
    'plan_modules': (_TEXTS, [c_void_p, POINTER(c_size_t)]),
    'plan_has_errors': (c_int, [c_void_p]),
    'plan_tp': (c_int32, [c_void_p]),
    'plan_summary': (c_char_p, [c_void_p]),
    'plan_sha': (c_char_p, [c_void_p]),
    'plan_report': (c_void_p, [c_void_p]),
    'plan_json': (c_void_p, [c_void_p, c_int]),
    'plan_findings': (POINTER(POINTER(_Finding)), [c_void_p, POINTER(c_size_t)]),
    'plan_decision': (POINTER(_Decision), [c_void_p, c_char_p, _ERROR]),
    'decision_free': (None, [POINTER(_Decision)]),
    'plan_as_json': (c_void_p, [c_void_p, c_void_p, c_char_p, c_int, _ERROR]),
    'ask': (c_void_p, [c_void_p, c_char_p, _ERROR]),
    'linear_load': (c_void_p, [c_void_p, c_char_p, c_int32, _ERROR]),
    'linear_free': (None, [c_void_p]),
    'linear_rows': (c_int64, [c_void_p]),
    'linear_columns': (c_int64, [c_void_p]),
    'linear_first_column': (c_int64, [c_void_p]),
    'linear_bytes': (c_uint64, [c_void_p]),
    'pool_create': (c_void_p, [c_int32, _ERROR]),
    'pool_free': (None, [c_void_p]),
    'linear_run': (c_int, [c_void_p, c_void_p, c_int64, c_int64, c_void_p, c_int64, c_void_p, _ERROR]),
}


def _places():
    """Where the library may be, best first: FERRULE_LIBRARY alone, else in the package (a wheel),
    in the prefix that the package is installed in, and where the system looks."""
    named = os.environ.get('FERRULE_LIBRARY')
    if named:
        return [named]
    package = Path(__file__).resolve().parent
    files = [package / 'lib' / 'libferrule.so']
    for parent in list(package.parents)[:4]:
        files += [parent / SONAME, parent / (sysconfig.get_config_var('MULTIARCH') or '') / SONAME]
    return [str(file) for file in files if file.is_file()] + [SONAME]


def _load():
    library, tried = None, []
    for place in _places():
        try:
            library = ctypes.CDLL(place)
            break
        except OSError as error:
            tried.append(str(error))
    if library is None:
        raise ImportError(f'ferrule needs {SONAME}: {"; ".join(tried)}. Remedy: `meson install -C build && ldconfig`, '
                          'or name the file in FERRULE_LIBRARY')
    try:
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, 'ferrule_' + name)
            function.restype, function.argtypes = result, arguments
    except AttributeError as error:
        raise ImportError(f'{library._name} is no {SONAME} of this release: {error}') from None
    if library.ferrule_abi_version() != ABI:
        raise ImportError(f'{library._name} has the interface {library.ferrule_abi_version()}, this package is written '
                          f'for {ABI}: install both from one release')
    return library


LIB = _load()


def _raise(error):
    """Raises what `error`, a pointer that the library has set, says."""
    message = LIB.ferrule_error_message(error).decode()
    blame = LIB.ferrule_error_blame(error)
    LIB.ferrule_error_free(error)
    if blame == 3 and message == 'out of memory\n':
        raise MemoryError('ferrule is out of memory')
    raise Error(message.rstrip('\n'), blame)


def checked(name, *arguments):
    """ferrule_<name>(…, &error): its result; an Error where there is one."""
    error = c_void_p()
    result = getattr(LIB, 'ferrule_' + name)(*arguments, byref(error))
    if error:
        _raise(error)
    return result


def taken(pointer):
    """The text at a char* that the library made, which is freed; MemoryError for NULL."""
    if not pointer:
        raise MemoryError('ferrule is out of memory')
    try:
        return string_at(pointer).decode()
    finally:
        LIB.ferrule_text_free(pointer)


def texts(pointers, count):
    return [pointers[i].decode() for i in range(count)]


def path_bytes(path):
    """A path for the library. A path with a zero byte would name another file."""
    return text_bytes(os.fsdecode(path), os.fsencode(path))


def text_bytes(text, encoded=None):
    if not isinstance(text, str):
        raise TypeError(f'a text is needed, not {type(text).__name__}')
    if '\0' in text:
        raise ValueError(f'a text with a zero byte: {text!r}')
    return text.encode() if encoded is None else encoded


class Handle:
    """Owns a pointer that is freed by ferrule_<freed>, when it is no longer used."""

    _pointer = None

    def __init__(self, pointer, freed):
        self._pointer = pointer
        self._freed = getattr(LIB, 'ferrule_' + freed)

    def __del__(self):
        if self._pointer:
            self._freed(self._pointer)

    def __copy__(self):
        return self  # immutable: a second owner would free it twice

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        raise TypeError(f'a {type(self).__name__} cannot be pickled: make it anew in the other process')


def array(items):
    return (c_char_p * max(1, len(items)))(*items)


def counted(name, handle):
    """(pointer, number) of ferrule_<name>(handle, &count)."""
    count = c_size_t()
    return getattr(LIB, 'ferrule_' + name)(handle, byref(count)), count.value
