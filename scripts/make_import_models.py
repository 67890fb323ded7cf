#!/usr/bin/env python3
"""Make the small fixtures of the import tests: one tiny random model per family or input format.

usage: make_import_models.py TESTS/DATA [NAME ...]      needs torch, transformers, compressed-tensors

Writes TESTS/DATA/models/NAME with config, weights and reference.safetensors: tokens I64 [n] and the
original implementation's float32 logits F32 [n, vocabulary] (hidden F32 [n, width] for embedding models).
Weights are rounded to bfloat16 first; where they are quantised, the reference is that of the
dequantised ones; with DEQUANTISED=FOLDER these are written there too. All but BERT share one tokenizer, TESTS/DATA/tokenizers/tiny, as links.
"""
import json
import os
import shutil
import sys
import zipfile

import torch
import transformers as T
from safetensors.torch import load_file, save_file

SEED = 20
N_TOKENS = 20


# ---- tokenizer ----------------------------------------------------------------------------------

def make_tokenizer(folder):
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [('t', 'h'), ('th', 'e'), ('Ġ', 'the'), ('i', 'n'), ('a', 'n')]
    vocab = {c: i for i, c in enumerate(alphabet + [a + b for a, b in merges])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    split = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
             r"\s*[\r\n]+|\s+(?!\S)|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(split), 'isolated'),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(['<|endoftext|>', '<|im_start|>', '<|im_end|>'])
    os.makedirs(folder, exist_ok=True)
    tokenizer.save(f'{folder}/tokenizer.json', pretty=False)
    write_json(f'{folder}/tokenizer_config.json',
               {'eos_token': '<|im_end|>', 'pad_token': '<|endoftext|>', 'bos_token': None,
                'add_bos_token': False})
    return tokenizer.get_vocab_size()


def write_json(path, value):
    with open(path, 'w') as f:
        json.dump(value, f, indent=1)
        f.write('\n')


def read_json(path):
    with open(path) as f:
        return json.load(f)


def link_tokenizer(folder, name='tiny'):
    for file in ('tokenizer.json', 'tokenizer_config.json'):
        if os.path.lexists(f'{folder}/{file}'):
            os.remove(f'{folder}/{file}')
        os.symlink(f'../../tokenizers/{name}/{file}', f'{folder}/{file}')


# ---- models -------------------------------------------------------------------------------------

def scaled(model, seed=SEED):
    """Weights of a size that keeps activations near one and makes every part matter."""
    generator = torch.Generator().manual_seed(seed)
    zero_centred = type(model).__name__.startswith('Gemma')
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if p.ndim == 1 and 'norm' in name.lower() and name.endswith('weight'):
                p.copy_((0.0 if zero_centred else 1.0) + 0.25 * noise)
            elif p.ndim == 1:
                p.copy_(0.1 * noise)
            elif 'embed' in name:
                p.copy_(noise * 0.8 / (p.shape[-1] ** 0.5 if zero_centred else 1.0))
            else:
                p.copy_(noise * (1.4 / p.shape[-1] ** 0.5))
        for name, b in model.named_buffers():
            if 'e_score_correction_bias' in name:
                b.copy_((0.2 * torch.randn(b.shape, generator=generator)).bfloat16().float())
        for p in model.parameters():
            p.copy_(p.bfloat16().float())
    return model


def tokens_of(n_vocab):
    return torch.randint(3, n_vocab, (1, N_TOKENS), generator=torch.Generator().manual_seed(SEED + 7))


def reference(folder, model, n_vocab, what='logits'):
    tokens = tokens_of(n_vocab)
    with torch.no_grad():
        out = model(tokens)
    out = out.logits[0] if what == 'logits' else out.last_hidden_state[0]
    save_file({'tokens': tokens[0].contiguous(), what: out.float().contiguous()},
              f'{folder}/reference.safetensors')


def rope(theta=10000.0, kind='default', **more):
    return {'rope_parameters': {'rope_type': kind, 'rope_theta': theta, **more}}


def build(out, name, config, n_vocab, auto=T.AutoModelForCausalLM, what='logits', shard='5GB'):
    folder = f'{out}/{name}'
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    torch.manual_seed(SEED)
    model = scaled(auto.from_config(config, attn_implementation='eager').float().eval())
    reference(folder, model, n_vocab, what)
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size=shard)
    for file in ('generation_config.json',):
        if os.path.exists(f'{folder}/{file}'):
            os.remove(f'{folder}/{file}')
    link_tokenizer(folder)
    return folder, model.float()


def change_config(folder, **values):
    config = read_json(f'{folder}/config.json')
    for key, value in values.items():
        config.pop(key) if value is None else config.update({key: value})
    write_json(f'{folder}/config.json', config)


def weights_of(folder):
    return load_file(f'{folder}/model.safetensors')


def save_weights(folder, tensors):
    save_file({k: v.contiguous() for k, v in tensors.items()}, f'{folder}/model.safetensors',
              {'format': 'pt'})


def families(V):
    k = dict(vocab_size=V, hidden_size=32, intermediate_size=48, num_hidden_layers=2, bos_token_id=261,
             eos_token_id=263, pad_token_id=None, max_position_embeddings=256)
    a = dict(num_attention_heads=4, num_key_value_heads=2)
    four = {**k, 'num_hidden_layers': 4}
    layers = ['sliding_attention'] * 3 + ['full_attention']
    mla = dict(kv_lora_rank=24, q_lora_rank=20, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=16,
               num_attention_heads=2, num_key_value_heads=2, n_routed_experts=4, num_experts_per_tok=2,
               n_shared_experts=1, moe_intermediate_size=16, first_k_dense_replace=1, n_group=2,
               topk_group=1, routed_scaling_factor=2.5, norm_topk_prob=True)
    glm = dict(head_dim=16, n_routed_experts=4, num_experts_per_tok=2, n_shared_experts=1, moe_intermediate_size=16,
               first_k_dense_replace=1, n_group=1, topk_group=1, routed_scaling_factor=1.5, norm_topk_prob=True,
               use_qk_norm=True, attention_bias=True, tie_word_embeddings=True)
    factors = dict(short_factor=[1.0 + 0.1 * i for i in range(4)], long_factor=[2.0 + i for i in range(4)])
    return {
        'cohere2': T.Cohere2Config(**four, **a, head_dim=8, sliding_window=8, layer_types=layers,
                                   logit_scale=0.25, rotary_pct=1.0, **rope(50000.0)),
        'stablelm': T.StableLmConfig(**k, **a, use_qkv_bias=True, partial_rotary_factor=0.5,
                                     **rope(partial_rotary_factor=0.5)),
        'stablelm_parallel': T.StableLmConfig(**k, **a, use_qkv_bias=False, qk_layernorm=True,
                                              use_parallel_residual=True, partial_rotary_factor=0.5,
                                              **rope(partial_rotary_factor=0.5)),
        'starcoder2': T.Starcoder2Config(**k, **a, use_bias=True, sliding_window=8, residual_dropout=0.0,
                                         embedding_dropout=0.0, **rope(100000.0)),
        'olmoe': T.OlmoeConfig(**{**k, 'intermediate_size': 16}, **a, num_experts=4, num_experts_per_tok=2,
                               norm_topk_prob=False, **rope()),
        'ernie4_5': T.Ernie4_5Config(**k, **a, head_dim=8, use_bias=False, tie_word_embeddings=True,
                                     **rope(500000.0)),
        'exaone4': T.Exaone4Config(**four, **a, head_dim=16, sliding_window=8, sliding_window_pattern=4,
                                   layer_types=layers, tie_word_embeddings=True,
                                   **rope(1e6, 'llama3', factor=16.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                          original_max_position_embeddings=32)),
        'seed_oss': T.SeedOssConfig(**k, **a, head_dim=16, attention_bias=True, attention_out_bias=False,
                                    **rope(1e6)),
        'glm4_moe': T.Glm4MoeConfig(**k, **a, **glm, partial_rotary_factor=0.5, num_nextn_predict_layers=1,
                                    **rope(1e6, partial_rotary_factor=0.5)),
        'deepseek_v3_mtp': T.DeepseekV3Config(**k, **mla, scoring_func='sigmoid', topk_method='noaux_tc',
                                              num_nextn_predict_layers=1, tie_word_embeddings=True, **rope()),
        'deepseek_yarn': T.DeepseekV3Config(**k, **mla, scoring_func='sigmoid', topk_method='noaux_tc',
                                            tie_word_embeddings=True,
                                            **rope(kind='yarn', factor=4.0, beta_fast=32.0, beta_slow=1.0,
                                                   mscale=1.0, mscale_all_dim=1.0,
                                                   original_max_position_embeddings=64)),
        'phi3_longrope': T.Phi3Config(**k, **a, sliding_window=None, original_max_position_embeddings=64,
                                      **rope(10000.0, 'longrope', **factors, factor=4.0,
                                             original_max_position_embeddings=64)),
        'llama_linear': T.LlamaConfig(**k, **a, tie_word_embeddings=True, **rope(10000.0, 'linear', factor=4.0)),
    }


# ---- formats of the config and of the files ---------------------------------------------------------

CARD = """---
license: other
license_name: tiny-license
license_link: https://example.org/LICENSE
language:
- en
- de
tags: [tiny, test]
pipeline_tag: text-generation
base_model: Example/Base-Model-7B-v0.2
datasets:
- Example/Some-Data
- https://huggingface.co/Example/More-Data
model_creator: Somebody
---

# Tiny Llama

A model for tests.
"""


def transformers4(out, V):
    """config.json as transformers 4 wrote it, weights as two PyTorch shards, one of them deflated."""
    config = T.LlamaConfig(vocab_size=V, hidden_size=32, intermediate_size=48, num_hidden_layers=2, head_dim=8,
                           num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
                           bos_token_id=261, eos_token_id=263, tie_word_embeddings=False,
                           **rope(20000.0, 'linear', factor=2.0))
    folder, _ = build(out, 'llama_tf4', config, V)
    change_config(folder, rope_parameters=None, dtype=None, head_dim=None, rope_theta=20000.0,
                  rope_scaling={'type': 'linear', 'factor': 2.0}, torch_dtype='bfloat16',
                  transformers_version='4.38.2', _name_or_path='Example/Tiny-Llama-v0.1')
    with open(f'{folder}/README.md', 'w') as f:
        f.write(CARD)
    write_json(f'{folder}/generation_config.json',
               {'eos_token_id': [263, 261], 'temperature': 0.6, 'top_k': 20, 'top_p': 0.95})
    tensors = weights_of(folder)
    os.remove(f'{folder}/model.safetensors')
    names = sorted(tensors)
    shards = {'pytorch_model-00001-of-00002.bin': names[::2], 'pytorch_model-00002-of-00002.bin': names[1::2]}
    for file, part in shards.items():
        torch.save({n: tensors[n] for n in part}, f'{folder}/{file}')
    deflate(f'{folder}/pytorch_model-00002-of-00002.bin')
    write_json(f'{folder}/pytorch_model.bin.index.json',
               {'metadata': {}, 'weight_map': {n: f for f, part in shards.items() for n in part}})


def deflate(path):
    with zipfile.ZipFile(path) as old:
        members = [(i.filename, old.read(i)) for i in old.infolist()]
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as new:
        for name, data in members:
            new.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)


def with_draft_layer(out, name):
    """Tensors of a multi-token-prediction layer behind the last one."""
    folder = f'{out}/{name}'
    tensors = weights_of(folder)
    last = {n: t for n, t in tensors.items() if n.startswith('model.layers.1.')}
    for n, t in last.items():
        tensors[n.replace('layers.1.', 'layers.2.')] = t.clone()
    for part, shape in (('eh_proj.weight', (32, 64)), ('enorm.weight', (32,)), ('hnorm.weight', (32,)),
                        ('shared_head.norm.weight', (32,))):
        tensors['model.layers.2.' + part] = torch.ones(shape, dtype=torch.bfloat16)
    save_weights(folder, tensors)


def mixed_dtypes(out, name):
    """Norms as F64, every other matrix as F16 or F32."""
    folder = f'{out}/{name}'
    kinds = (torch.float16, torch.float32)
    save_weights(folder, {n: t.double() if t.ndim == 1 else t.to(kinds[i % 2])
                          for i, (n, t) in enumerate(sorted(weights_of(folder).items()))})


def gemma3_vision(out, V):
    text = dict(vocab_size=V, hidden_size=32, intermediate_size=48, num_hidden_layers=2, head_dim=16,
                num_attention_heads=2, num_key_value_heads=1, sliding_window=8, query_pre_attn_scalar=16,
                max_position_embeddings=256, layer_types=['sliding_attention', 'full_attention'])
    vision = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
                  image_size=16, patch_size=8)
    config = T.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=262,
                            boi_token_index=261, eoi_token_index=263)
    folder = f'{out}/gemma3_vision'
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    model = T.Gemma3ForConditionalGeneration._from_config(config, attn_implementation='eager').float().eval()
    scaled(model)
    tokens = tokens_of(V - 4)
    with torch.no_grad():
        logits = model(tokens).logits[0].float()
    save_file({'tokens': tokens[0].contiguous(), 'logits': logits.contiguous()}, f'{folder}/reference.safetensors')
    model.to(torch.bfloat16).save_pretrained(folder)
    for file in os.listdir(folder):
        if file == 'generation_config.json':
            os.remove(f'{folder}/{file}')
    link_tokenizer(folder)


# ---- embedding models --------------------------------------------------------------------------------

def add_pooling(folder, kind, normalize=True):
    modules = [{'idx': 0, 'name': '0', 'path': '', 'type': 'sentence_transformers.models.Transformer'},
               {'idx': 1, 'name': '1', 'path': '1_Pooling', 'type': 'sentence_transformers.models.Pooling'}]
    if normalize:
        modules.append({'idx': 2, 'name': '2', 'path': '2_Normalize',
                        'type': 'sentence_transformers.models.Normalize'})
    os.makedirs(f'{folder}/1_Pooling', exist_ok=True)
    write_json(f'{folder}/modules.json', modules)
    kinds = {k: k == kind for k in ('cls_token', 'mean_tokens', 'max_tokens', 'lasttoken')}
    write_json(f'{folder}/1_Pooling/config.json',
               {'word_embedding_dimension': 32, **{f'pooling_mode_{k}': v for k, v in kinds.items()}})


def embedding_models(out, V):
    k = dict(vocab_size=V, hidden_size=32, intermediate_size=48, num_hidden_layers=2, head_dim=16,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256, bos_token_id=261,
             eos_token_id=263)
    folder, _ = build(out, 'qwen3_embedding', T.Qwen3Config(**k, tie_word_embeddings=True, **rope(1e6)), V,
                      T.AutoModel, 'hidden')
    change_config(folder, architectures=['Qwen3ForCausalLM'])
    add_pooling(folder, 'lasttoken')
    folder, _ = build(out, 'llama_embedding', T.LlamaConfig(**{**k, 'head_dim': 8}, **rope()), V, T.AutoModel, 'hidden')
    add_pooling(folder, 'mean_tokens')
    bert = read_json(f'{out}/../tokenizers/bert/tokenizer.json')
    n_vocab = len(bert['model']['vocab'])
    config = T.BertConfig(vocab_size=n_vocab, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                          intermediate_size=48, max_position_embeddings=64)
    folder = f'{out}/bert_sentence'
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    model = scaled(T.BertModel(config, add_pooling_layer=True).float().eval())
    x = torch.randint(5, n_vocab, (1, 16), generator=torch.Generator().manual_seed(SEED))
    with torch.no_grad():
        hidden = model(x).last_hidden_state[0]
    save_file({'tokens': x[0].contiguous(), 'hidden': hidden.contiguous()}, f'{folder}/reference.safetensors')
    model.save_pretrained(folder)
    old = {'LayerNorm.weight': 'LayerNorm.gamma', 'LayerNorm.bias': 'LayerNorm.beta'}
    tensors = {}
    for name, t in weights_of(folder).items():
        for new, was in old.items():
            name = name.replace(new, was)
        tensors['bert.' + name] = t
    tensors['bert.embeddings.position_ids'] = torch.arange(64)[None]
    tensors['cls.predictions.bias'] = torch.zeros(n_vocab)
    save_weights(folder, tensors)
    change_config(folder, architectures=['BertModel'])
    link_tokenizer(folder, 'bert')
    add_pooling(folder, 'mean_tokens')


# ---- quantised inputs ---------------------------------------------------------------------------------

def small_qwen(V, tie=True, layers=1):
    return T.Qwen2Config(vocab_size=V, hidden_size=32, intermediate_size=64, num_hidden_layers=layers,
                         num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=256,
                         tie_word_embeddings=tie, bos_token_id=261, eos_token_id=263, **rope(1e6))


def is_linear(name, tensor):
    return tensor.ndim == 2 and name.endswith('_proj.weight')


def quantise(out, name, V, one, config, base=None):
    """Replace every linear weight by what `one(weight, name)` gives: parts by suffix, dequantised weight."""
    folder, _ = build(out, name, base or small_qwen(V), V)
    done, plain = {}, {}
    for key, t in weights_of(folder).items():
        plain[key] = t.float()
        if not is_linear(key, t):
            done[key] = t
            continue
        parts, plain[key] = one(t.float(), key)
        for suffix, part in parts.items():
            done[key.removesuffix('weight') + suffix] = part
    save_weights(folder, plain)
    model = T.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation='eager')
    reference(folder, model.eval(), V)
    if os.environ.get('DEQUANTISED'):
        shutil.copytree(folder, f'{os.environ["DEQUANTISED"]}/{name}', dirs_exist_ok=True)
    save_weights(folder, done)
    change_config(folder, quantization_config=config)
    return folder


def pack_stream(codes, bits, axis):
    """A stream of little-endian bits along `axis`, in 32-bit words."""
    codes = codes.movedim(axis, 0).to(torch.int64)
    n = codes.shape[0] * bits // 32
    words = torch.zeros((n, *codes.shape[1:]), dtype=torch.int64)
    for i in range(codes.shape[0]):
        word, shift = divmod(i * bits, 32)
        words[word] |= codes[i] << shift & 0xFFFFFFFF
        if shift + bits > 32:
            words[word + 1] |= codes[i] >> (32 - shift)
    words = torch.where(words >= 1 << 31, words - (1 << 32), words)
    return words.to(torch.int32).movedim(0, axis).contiguous()


def grouped(weight, groups, n_groups, bits):
    """Codes [out][in], zeros and scales [groups][out]; groups [in] names the group of a column."""
    top = (1 << bits) - 1
    zeros = torch.zeros(n_groups, weight.shape[0], dtype=torch.int64)
    scales = torch.zeros(n_groups, weight.shape[0])
    for g in range(n_groups):
        part = weight[:, groups == g]
        low, high = part.amin(1).clamp(max=0), part.amax(1).clamp(min=0)
        scales[g] = ((high - low) / top).clamp(min=1e-4).half().float()
        zeros[g] = (-low / scales[g]).round().clamp(1, top)
    codes = (weight / scales[groups].T + zeros[groups].T).round().clamp(0, top).to(torch.int64)
    return codes, zeros, scales, (codes - zeros[groups].T) * scales[groups].T


def gptq(bits, group, act_order, v2):
    def one(weight, name):
        n_in = weight.shape[1]
        size = n_in if group < 0 else group
        groups = torch.arange(n_in) // size
        if act_order:
            groups = groups[torch.randperm(n_in, generator=torch.Generator().manual_seed(SEED))]
        codes, zeros, scales, value = grouped(weight, groups, n_in // size, bits)
        return {'qweight': pack_stream(codes.T, bits, 0), 'qzeros': pack_stream(zeros - (0 if v2 else 1), bits, 1),
                'scales': scales.half(), 'g_idx': groups.to(torch.int32)}, value
    config = dict(quant_method='gptq', bits=bits, group_size=group, desc_act=act_order, sym=False,
                  checkpoint_format='gptq_v2' if v2 else 'gptq')
    return one, config


def awq(weight, name):
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    n_in = weight.shape[1]
    codes, zeros, scales, value = grouped(weight, torch.arange(n_in) // 16, n_in // 16, 4)

    def pack(x):
        x = x.reshape(x.shape[0], -1, 8)[:, :, order].reshape(x.shape)
        return pack_stream(x, 4, 1)
    return {'qweight': pack(codes.T), 'qzeros': pack(zeros), 'scales': scales.half()}, value


def compressed(bits, group, symmetric):
    """pack-quantized, packed by the compressed-tensors library; group 0: one scale per channel."""
    from compressed_tensors.compressors import pack_to_int32

    def one(weight, name):
        n_in = weight.shape[1]
        size = group or n_in
        top, low = (1 << bits - 1) - 1, -(1 << bits - 1)
        w = weight.reshape(weight.shape[0], -1, size)
        if symmetric:
            scale, zero = (w.abs().amax(-1) / top).clamp(min=1e-4).bfloat16().float(), torch.zeros(w.shape[:2])
        else:
            lo, hi = w.amin(-1).clamp(max=0), w.amax(-1).clamp(min=0)
            scale = ((hi - lo) / (top - low)).clamp(min=1e-4).bfloat16().float()
            zero = (low - lo / scale).round().clamp(low, top)
        codes = (w / scale[..., None] + zero[..., None]).round().clamp(low, top) + 0.0  # no -0
        value = ((codes - zero[..., None]) * scale[..., None]).reshape(weight.shape)
        parts = {'weight_packed': pack_to_int32(codes.reshape(weight.shape).to(torch.int8), bits),
                 'weight_scale': scale.bfloat16(), 'weight_shape': torch.tensor(weight.shape)}
        if not symmetric:
            parts['weight_zero_point'] = pack_to_int32(zero.to(torch.int8), bits, packed_dim=0)
        return parts, value
    weights = dict(num_bits=bits, type='int', symmetric=symmetric, strategy='group' if group else 'channel',
                   group_size=group or None)
    return one, ct_config('pack-quantized', weights)


def ct_config(format_, weights):
    return dict(quant_method='compressed-tensors', format=format_, ignore=['lm_head'], quantization_status='compressed',
                config_groups={'group_0': dict(targets=['Linear'], weights=weights, input_activations=None,
                                               output_activations=None)})


def int8(weight, name):
    """One scale and one zero point per channel."""
    lo, hi = weight.amin(1, keepdim=True).clamp(max=0), weight.amax(1, keepdim=True).clamp(min=0)
    scale = ((hi - lo) / 255).bfloat16().float()
    zero = (-128 - lo / scale).round().clamp(-128, 127)
    codes = (weight / scale + zero).round().clamp(-128, 127) + 0.0  # no -0
    return {'weight': codes.to(torch.int8), 'weight_scale': scale.bfloat16(),
            'weight_zero_point': zero.to(torch.int8)}, (codes - zero) * scale


def fp8(dtype, per, scale_name='weight_scale', block=None):
    top = torch.finfo(dtype).max

    def one(weight, name):
        rows, cols = weight.shape
        br, bc = {'tensor': (rows, cols), 'row': (1, cols), 'block': (block, block)}[per]
        R, C = -(-rows // br), -(-cols // bc)
        padded = torch.zeros(R * br, C * bc)
        padded[:rows, :cols] = weight
        b = padded.reshape(R, br, C, bc)
        scale = (b.abs().amax((1, 3)) / top).clamp(min=1e-8)
        q = (b / scale[:, None, :, None]).to(dtype)
        value = (q.float() * scale[:, None, :, None]).reshape(R * br, C * bc)[:rows, :cols]
        q = q.reshape(R * br, C * bc)[:rows, :cols]
        if per == 'tensor':
            scale = scale.reshape(())
        return {'weight': q, scale_name: scale}, value
    return one


def quantised_models(out, V):
    quantise(out, 'gptq4', V, *gptq(4, 16, True, False))
    quantise(out, 'gptq2', V, *gptq(2, 16, False, True))
    quantise(out, 'gptq3', V, *gptq(3, 32, False, False))
    quantise(out, 'gptq8', V, *gptq(8, -1, False, True))
    quantise(out, 'awq', V, awq, dict(quant_method='awq', bits=4, group_size=16, zero_point=True, version='gemm'))
    quantise(out, 'ct_int4', V, *compressed(4, 16, True))
    quantise(out, 'ct_int4_zero', V, *compressed(4, 16, False))
    quantise(out, 'ct_int8_packed', V, *compressed(8, 0, True))
    quantise(out, 'deepseek_int4', V, *compressed(4, 4, False), families(V)['deepseek_yarn'])
    quantise(out, 'ct_int8', V, int8,
             ct_config('int-quantized', dict(num_bits=8, type='int', symmetric=False, strategy='channel')))
    quantise(out, 'ct_fp8', V, fp8(torch.float8_e4m3fn, 'row'),
             ct_config('float-quantized', dict(num_bits=8, type='float', symmetric=True, strategy='channel')))
    quantise(out, 'fp8_tensor', V, fp8(torch.float8_e4m3fn, 'tensor'),
             dict(quant_method='fp8', activation_scheme='static'))
    quantise(out, 'fp8_e5m2', V, fp8(torch.float8_e5m2, 'block', 'weight_scale_inv', 16),
             dict(quant_method='fp8', fmt='e5m2', weight_block_size=[16, 16]))
    wide = dict(vocab_size=V, hidden_size=256, intermediate_size=256, num_hidden_layers=1, bos_token_id=261,
                eos_token_id=263, pad_token_id=None, max_position_embeddings=256)
    mla = T.DeepseekV3Config(**wide, kv_lora_rank=256, q_lora_rank=256, qk_nope_head_dim=256, qk_rope_head_dim=64,
                             v_head_dim=256, num_attention_heads=1, num_key_value_heads=1, n_routed_experts=4,
                             num_experts_per_tok=2, moe_intermediate_size=256, first_k_dense_replace=1,
                             n_shared_experts=1, n_group=1, topk_group=1, scoring_func='sigmoid',
                             tie_word_embeddings=True, **rope())
    quantise(out, 'deepseek_wide', V, fp8(torch.float8_e4m3fn, 'block', 'weight_scale_inv', 128),
             dict(quant_method='fp8', fmt='e4m3', weight_block_size=[128, 128]), mla)
    gemma = T.Gemma2Config(**wide, num_attention_heads=2, num_key_value_heads=1, head_dim=128, sliding_window=8,
                           query_pre_attn_scalar=128, **rope())
    quantise(out, 'gemma2_wide', V, fp8(torch.float8_e4m3fn, 'row'),
             ct_config('float-quantized', dict(num_bits=8, type='float', symmetric=True, strategy='channel')), gemma)


# ---- adapters -----------------------------------------------------------------------------------------

def adapter(out, V):
    """A LoRA adapter of llama_linear in PEFT's layout."""
    folder = f'{out}/llama_lora'
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    base = weights_of(f'{out}/llama_linear')
    generator = torch.Generator().manual_seed(SEED)
    tensors = {}
    for name, t in base.items():
        if name.split('.')[-2] not in ('q_proj', 'k_proj', 'v_proj', 'down_proj'):
            continue
        stem = 'base_model.model.' + name.removesuffix('.weight')
        tensors[f'{stem}.lora_A.weight'] = torch.randn(4, t.shape[1], generator=generator).bfloat16().float()
        tensors[f'{stem}.lora_B.weight'] = torch.randn(t.shape[0], 4, generator=generator).bfloat16().float()
    save_file(tensors, f'{folder}/adapter_model.safetensors', {'format': 'pt'})
    write_json(f'{folder}/adapter_config.json',
               {'base_model_name_or_path': '../llama_linear', 'peft_type': 'LORA', 'r': 4, 'lora_alpha': 12,
                'target_modules': ['q_proj', 'k_proj', 'v_proj', 'down_proj'], 'bias': 'none',
                'task_type': 'CAUSAL_LM'})


def main(data, *only):
    out = f'{data}/models'
    V = make_tokenizer(f'{data}/tokenizers/tiny')
    for name, config in families(V).items():
        if not only or name in only:
            build(out, name, config, V)
            if name in ('glm4_moe', 'deepseek_v3_mtp'):
                with_draft_layer(out, name)
            if name == 'ernie4_5':
                mixed_dtypes(out, name)
            print(name, flush=True)
    for name, make in (('llama_tf4', transformers4), ('gemma3_vision', gemma3_vision),
                       ('embedding', embedding_models), ('quantised', quantised_models), ('llama_lora', adapter)):
        if not only or name in only:
            make(out, V)
            print(name, flush=True)


main(*sys.argv[1:])
