"""libgguf by ctypes: a file's metadata and tensors, mapped read-only."""
from __future__ import annotations

import ctypes
import os
import pathlib
import weakref
from typing import Any, Iterator, Mapping, Optional, Tuple, Union

import numpy as np

Path = Union[str, "os.PathLike[str]"]
FILES = pathlib.Path(__file__).parent / "_files"


class Error(Exception):
    """What libgguf or a command reports: the stable name of the error, the file and byte that it concerns, if any."""

    def __init__(self, code: str, message: str, file: Optional[str] = None, offset: Optional[int] = None):
        place = f"{file}: " if file else ""
        place += f"byte {offset}: " if file and offset is not None else ""
        super().__init__(place + message)
        self.code, self.message, self.file, self.offset = code, message, file, offset


class _Str(ctypes.Structure):
    _fields_ = [("ptr", ctypes.POINTER(ctypes.c_char)), ("len", ctypes.c_size_t)]

    def text(self) -> str:
        return ctypes.string_at(self.ptr, self.len).decode("utf-8", "replace")


class _Err(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int), ("offset", ctypes.c_int64), ("file", ctypes.c_char * 256), ("message", ctypes.c_char * 512)]


class _Kv(ctypes.Structure):
    _fields_ = [("key", _Str), ("type", ctypes.c_int), ("elem_type", ctypes.c_int), ("count", ctypes.c_uint64),
                ("data", ctypes.c_void_p), ("n_bytes", ctypes.c_size_t), ("off", ctypes.c_int64)]


class _KvIter(ctypes.Structure):
    _fields_ = [("kv", ctypes.POINTER(_Kv)), ("index", ctypes.c_uint64), ("pos", ctypes.c_size_t)]


class _Tensor(ctypes.Structure):
    _fields_ = [("name", _Str), ("type", ctypes.c_uint32), ("n_dims", ctypes.c_uint32), ("dims", ctypes.c_uint64 * 4),
                ("data_off", ctypes.c_uint64), ("file_off", ctypes.c_uint64), ("n_bytes", ctypes.c_uint64), ("shard", ctypes.c_uint32)]


class _Layout(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("type", ctypes.c_uint32), ("block_elems", ctypes.c_uint32), ("block_bytes", ctypes.c_uint32)]


_STRING, _ARRAY, _BOOL = 8, 9, 7
_VALUES = {0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8", 11: "<i8", 12: "<f8"}
# Types whose elements numpy has; BF16 stands as its bits.
_TYPES = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "I8": "<i1", "I16": "<i2", "I32": "<i4", "I64": "<i8", "BF16": "<u2"}


def _load() -> ctypes.CDLL:
    library = ctypes.CDLL(str(FILES / "lib" / "libgguf.so.0"))
    pointer, size, text = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p
    for name, result, arguments in (
        ("gguf_file_open", ctypes.c_int, [text, ctypes.c_int, ctypes.POINTER(pointer), ctypes.POINTER(_Err)]),
        ("gguf_file_close", None, [pointer]),
        ("gguf_file_meta", pointer, [pointer]),
        ("gguf_file_version", ctypes.c_uint32, [pointer]),
        ("gguf_file_bytes", ctypes.c_uint64, [pointer]),
        ("gguf_file_n_tensors", size, [pointer]),
        ("gguf_file_tensor", ctypes.POINTER(_Tensor), [pointer, size]),
        ("gguf_file_data", pointer, [pointer, ctypes.POINTER(_Tensor)]),
        ("gguf_meta_count", size, [pointer]),
        ("gguf_meta_at", ctypes.POINTER(_Kv), [pointer, size]),
        ("gguf_kv_next_str", ctypes.c_bool, [ctypes.POINTER(_KvIter), ctypes.POINTER(_Str)]),
        ("gguf_type_layout_of", ctypes.POINTER(_Layout), [ctypes.c_uint32]),
        ("gguf_code_name", text, [ctypes.c_int]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


_library = _load()


class Tensor:
    """A tensor of a file. shape has the rows first, as numpy has it; type is the name of its GGUF type ("F32", "Q4_K" ...)."""

    def __init__(self, file: "File", raw: _Tensor):
        layout = _library.gguf_type_layout_of(raw.type).contents
        self._file, self._raw = file, raw
        self.name: str = raw.name.text()
        self.type: str = layout.name.decode()
        self.shape: Tuple[int, ...] = tuple(raw.dims[i] for i in reversed(range(raw.n_dims)))
        self.n_bytes: int = raw.n_bytes
        self._row_bytes: int = raw.dims[0] // layout.block_elems * layout.block_bytes

    @property
    def data(self) -> "np.ndarray[Any, Any]":
        """A read-only view of the mapped file, without a copy: shape for types that numpy has (BF16 as uint16), otherwise the
        encoded bytes with the last dimension in bytes. The file stays mapped as long as the view is there."""
        if not self.n_bytes:
            return np.empty(self.shape, _TYPES.get(self.type, "u1"))
        address = _library.gguf_file_data(self._file._handle, ctypes.byref(self._raw))
        block = (ctypes.c_uint8 * self.n_bytes).from_address(address)
        block._file = self._file  # type: ignore[attr-defined]
        array: "np.ndarray[Any, Any]" = np.frombuffer(memoryview(block), dtype=_TYPES.get(self.type, "u1"))
        array.flags.writeable = False
        return array.reshape(self.shape if self.type in _TYPES else (*self.shape[:-1], self._row_bytes))

    def to_float32(self) -> "np.ndarray[Any, Any]":
        """The values of a tensor in F32, F16, F64 or BF16 as a new array. Raises Error for other types."""
        if self.type == "BF16":
            return (self.data.astype(np.uint32) << 16).view(np.float32)
        if self.type in ("F32", "F16", "F64"):
            return self.data.astype(np.float32)
        raise Error("unsupported", f"{self.name}: {self.type} has no elements of its own; gguf-convert -o FOLDER decodes a file")

    def __repr__(self) -> str:
        return f"Tensor({self.name!r}, {self.type}, {self.shape})"


class File:
    """A GGUF file, or the first shard of a split one, opened, checked and mapped. Raises Error.

    metadata: keys with their values; an array of numbers is a numpy array, one of strings a list
    tensors: by name, in the order of the file
    """

    def __init__(self, path: Path):
        handle, err = ctypes.c_void_p(), _Err()
        code = _library.gguf_file_open(os.fsencode(path), 0, ctypes.byref(handle), ctypes.byref(err))
        if code:
            raise Error(_library.gguf_code_name(code).decode(), err.message.decode("utf-8", "replace"),
                        err.file.decode("utf-8", "replace") or None, err.offset if err.offset >= 0 else None)
        self._handle = handle
        weakref.finalize(self, _library.gguf_file_close, handle)
        self.path = os.fspath(path)
        self.version: int = _library.gguf_file_version(handle)
        self.n_bytes: int = _library.gguf_file_bytes(handle)
        self.metadata: Mapping[str, Any] = dict(self._entries())
        tensors = (Tensor(self, _library.gguf_file_tensor(handle, i).contents) for i in range(_library.gguf_file_n_tensors(handle)))
        self.tensors: Mapping[str, Tensor] = {tensor.name: tensor for tensor in tensors}

    def _entries(self) -> Iterator[Tuple[str, Any]]:
        meta = _library.gguf_file_meta(self._handle)
        for i in range(_library.gguf_meta_count(meta)):
            kv = _library.gguf_meta_at(meta, i)
            yield kv.contents.key.text(), _value(kv)

    def __repr__(self) -> str:
        return f"File({self.path!r}, {len(self.tensors)} tensors)"


def _value(kv: Any) -> Any:
    entry = kv.contents
    kind = entry.elem_type if entry.type == _ARRAY else entry.type
    if kind == _STRING:
        it, text, texts = _KvIter(kv=kv), _Str(), []
        while _library.gguf_kv_next_str(ctypes.byref(it), ctypes.byref(text)):
            texts.append(text.text())
        return texts if entry.type == _ARRAY else texts[0]
    if kind not in _VALUES:
        return None  # arrays of arrays
    values = np.frombuffer(ctypes.string_at(entry.data, entry.n_bytes), dtype=_VALUES[kind])
    return values if entry.type == _ARRAY else values[0].item()
