"""Models of Hugging Face whose rows are texts: `huggingface:folder`.

handler.py      what a graph asks: signature, files, loading
folder.py       what the JSON files of a folder say, without any framework
task.py         what the model is for, its options, and what it takes and gives
tokens.py       texts into tokens, by `tokenizers`
lengths.py      rows of like length into calls of little padding
network.py      what is called with tokens: of transformers, on torch, or an ONNX export
pooling.py      from the vectors of tokens to one of a text
classes.py      from scores to probabilities, labels and ranks
spans.py        from the scores of tokens to spans of text
generation.py   texts that a model writes
model.py        all of it in a row, for a batch of texts
"""
