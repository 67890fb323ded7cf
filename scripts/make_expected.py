#!/usr/bin/env python3
"""Write expected-gguf.json: what llama.cpp's converter makes of a fixture, as F32.

usage: make_expected.py LLAMA_CPP FOLDER [FROM]     needs torch, transformers, gguf

LLAMA_CPP is a source tree with convert_hf_to_gguf.py. FROM is another folder with the same model, for
formats that the converter does not read, or a GGUF file that another of its programs wrote. Its tokenizer part is switched off in memory (it refuses
tokenizers that it does not know), as are layers for multi-token prediction; nothing else is changed.
"""
import hashlib
import json
import pathlib
import sys
import tempfile

llama_cpp, folder = sys.argv[1], pathlib.Path(sys.argv[2])
source = pathlib.Path(sys.argv[3]) if len(sys.argv) > 3 else folder
sys.path[:0] = [llama_cpp + '/gguf-py', llama_cpp]

import gguf  # noqa: E402
import torch  # noqa: E402
from conversion import ModelBase, ModelType, get_model_architecture, get_model_class  # noqa: E402


def convert(path):
    hparams = ModelBase.load_hparams(source, False)
    cls = get_model_class(get_model_architecture(hparams, ModelType.TEXT))

    class Tested(cls):
        model_arch = cls.model_arch
        no_mtp = True

        def set_vocab(self):
            pass

    with torch.inference_mode():
        Tested(source.resolve(), gguf.LlamaFileType.ALL_F32, path).write()


def value_of(field):
    if field.types[0] == gguf.GGUFValueType.ARRAY:
        return {'n': len(field.data), 'values': field.contents()}
    return field.contents()


def describe(path):
    reader = gguf.GGUFReader(path)
    metadata = {k: {'type': [t.name for t in f.types], 'value': value_of(f)}
                for k, f in reader.fields.items() if not k.startswith('GGUF.')}
    tensors = [{'name': t.name, 'type': t.tensor_type.name, 'shape': [int(n) for n in t.shape],
                'sha256': hashlib.sha256(t.data.tobytes()).hexdigest()} for t in reader.tensors]
    return metadata, tensors


if source.suffix == '.gguf':
    metadata, tensors = describe(source)
else:
    with tempfile.TemporaryDirectory() as temporary:
        convert(pathlib.Path(temporary) / 'out.gguf')
        metadata, tensors = describe(pathlib.Path(temporary) / 'out.gguf')
with open(folder / 'expected-gguf.json', 'w') as f:
    f.write('{"metadata": {\n')
    f.write(',\n'.join(f'{json.dumps(k)}: {json.dumps(v)}' for k, v in metadata.items()))
    f.write('},\n"tensors": [\n')
    f.write(',\n'.join(json.dumps(t) for t in tensors) + ']}\n')
