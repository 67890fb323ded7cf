"""GGUF models from Python: open files with libgguf, and convert, quantise, run and embed with ggufkit's commands.

    import ggufkit

    file = ggufkit.File("model.gguf")
    print(file.metadata["general.architecture"], len(file.tensors))
    print(file.tensors["token_embd.weight"].data.shape)     # a numpy view of the mapped file

    ggufkit.quantize("model.gguf", "model-q4.gguf", "Q4_K_M")
    print(ggufkit.generate("model-q4.gguf", "Once upon a time", n=50).text)
"""
from ._commands import Answer, command, convert, embed, generate, quantize, tokenize
from ._library import Error, File, Tensor
from ._version import __version__

__all__ = ["Answer", "Error", "File", "Tensor", "__version__", "command", "convert", "embed", "generate", "quantize", "tokenize"]
