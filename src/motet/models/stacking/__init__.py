"""Models of one structure, whose weights alone differ, computed together.

`program.py` has what a model computes as a list of operators; `onnx_program.py` and `sklearn_program.py` read it from models;
`operators.py` are the operators over rows of many models, and `stacked.py` plays programs of one structure with their weights stacked.
"""
