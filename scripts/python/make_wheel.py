#!/usr/bin/env python3
"""Make the wheel `ggufkit` of the commands and libraries of a tarball (scripts/make_tarball.sh) or of an installed tree, and of the
module beside this file. Nothing is compiled and nothing fetched; the same input gives the same bytes.
usage: make_wheel.py TARBALL|TREE OUTPUT-FOLDER [PLATFORM]      PLATFORM: linux_x86_64; manylinux_2_31_x86_64 for the tarball
"""
import base64
import hashlib
import pathlib
import platform
import re
import sys
import tarfile
import tempfile
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
COMMANDS = [f"gguf-{name}" for name in "convert imatrix quantize inspect edit bench run serve pull".split()]
DATE = (1980, 1, 1, 0, 0, 0)  # a wheel has no date of its own


def project():
    """Name, version and the sentence of CMakeLists.txt."""
    text = (ROOT / "CMakeLists.txt").read_text()
    return re.search(r"project\(ggufkit VERSION ([\d.]+)", text).group(1), re.search(r'DESCRIPTION "([^"]+)"', text).group(1)


def unpacked(source, scratch):
    """The tree with bin/ and lib/."""
    if source.is_dir():
        return source
    with tarfile.open(source) as tar:
        tar.extractall(scratch, filter="data")
    return next(pathlib.Path(scratch).iterdir())


def tree_files(tree):
    """Pairs of a path in the wheel and a file; of several names of a library those that programs ask for."""
    for name in COMMANDS:
        yield f"ggufkit/_files/bin/{name}", tree / "bin" / name
    for library in sorted(tree.glob("lib/**/*.so.*")):
        if not re.search(r"\.so\.\d+\.\d+\.\d+$", library.name) or "libgguf" not in library.name:
            yield f"ggufkit/_files/lib/{library.name}", library
    for text in sorted((tree / "share/doc/ggufkit/licences").glob("*")):
        yield f"ggufkit/_files/licences/{text.name}", text


def metadata(version, summary):
    return f"""Metadata-Version: 2.1
Name: ggufkit
Version: {version}
Summary: {summary}
License: MIT
Requires-Python: >=3.8
Requires-Dist: numpy
Classifier: License :: OSI Approved :: MIT License
Classifier: Operating System :: POSIX :: Linux
Classifier: Typing :: Typed
Description-Content-Type: text/markdown

""" + (ROOT / "docs" / "python.md").read_text()


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    source, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    machine = platform.machine()
    tag = sys.argv[3] if len(sys.argv) == 4 else f"linux_{machine}" if source.is_dir() else f"manylinux_2_31_{machine}"
    version, summary = project()
    info = f"ggufkit-{version}.dist-info"
    with tempfile.TemporaryDirectory() as scratch:
        tree = unpacked(source, scratch)
        entries = [(name, file.read_bytes(), 0o755) for name, file in tree_files(tree)]
    entries += [(f"ggufkit/{file.name}", file.read_bytes(), 0o644) for file in sorted((HERE / "ggufkit").iterdir()) if file.is_file()]
    entries += [
        ("ggufkit/_version.py", f'"""The version of commands and module."""\n__version__ = "{version}"\n'.encode(), 0o644),
        (f"{info}/METADATA", metadata(version, summary).encode(), 0o644),
        (f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: ggufkit\nRoot-Is-Purelib: false\nTag: py3-none-{tag}\n".encode(), 0o644),
        (f"{info}/entry_points.txt", ("[console_scripts]\n" + "".join(f"{name} = ggufkit._commands:main\n" for name in COMMANDS)).encode(), 0o644),
        (f"{info}/licenses/LICENSE", (ROOT / "LICENSE").read_bytes(), 0o644),
    ]
    record = "".join(f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}\n"
                     for name, data, _ in entries)
    entries.append((f"{info}/RECORD", (record + f"{info}/RECORD,,\n").encode(), 0o644))
    out.mkdir(parents=True, exist_ok=True)
    wheel = out / f"ggufkit-{version}-py3-none-{tag}.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data, mode in entries:
            item = zipfile.ZipInfo(name, DATE)
            item.external_attr = (0o100000 | mode) << 16
            item.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(item, data)
    print(wheel)


main()
