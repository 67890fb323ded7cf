#!/usr/bin/env python3
"""Rewrite a checkpoint with one tensor per expert as transformers 5 keeps it in memory and can save it:
all experts of a layer in one tensor, gate above up. The values stay the same.

usage: make_fused_experts.py MODEL-FOLDER OUT-FOLDER      (tests/data/reports/fused-experts is olmoe's)
"""
import glob
import json
import os
import re
import struct
import sys


def load(folder):
    """{name: (dtype, shape, bytes)} of all safetensors files of the model."""
    tensors = {}
    for path in sorted(glob.glob(f'{folder}/model*.safetensors')):
        with open(path, 'rb') as file:
            header = json.loads(file.read(struct.unpack('<Q', file.read(8))[0]))
            data = file.read()
        for name, entry in header.items():
            if name != '__metadata__':
                first, end = entry['data_offsets']
                tensors[name] = (entry['dtype'], entry['shape'], data[first:end])
    return tensors


def save(path, tensors):
    header, parts, end = {}, [], 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {'dtype': dtype, 'shape': shape, 'data_offsets': [end, end + len(data)]}
        parts.append(data)
        end += len(data)
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as file:
        file.write(struct.pack('<Q', len(text)) + text + b''.join(parts))


def fuse(tensors):
    out, experts = {}, {}
    words = {'w1': 'gate_proj', 'w2': 'down_proj', 'w3': 'up_proj'}
    for name, tensor in tensors.items():
        match = re.match(r'(.*\.experts)\.(\d+)\.(\w+)\.weight$', name)
        if match:
            kinds = experts.setdefault(match[1].replace('block_sparse_moe', 'mlp'), {})
            kinds.setdefault(words.get(match[3], match[3]), {})[int(match[2])] = tensor
        else:
            out[name.replace('block_sparse_moe', 'mlp')] = tensor
    for name, kinds in experts.items():
        gate, up, down = ([kinds[k][i] for i in sorted(kinds[k])] for k in ('gate_proj', 'up_proj', 'down_proj'))
        rows, columns = gate[0][1]
        out[f'{name}.gate_up_proj'] = (gate[0][0], [len(gate), 2 * rows, columns],
                                       b''.join(g[2] + u[2] for g, u in zip(gate, up)))
        out[f'{name}.down_proj'] = (down[0][0], [len(down), *down[0][1]], b''.join(d[2] for d in down))
    return out


if __name__ == '__main__':
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    os.makedirs(sys.argv[2], exist_ok=True)
    save(f'{sys.argv[2]}/model.safetensors', fuse(load(sys.argv[1])))
