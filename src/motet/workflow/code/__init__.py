"""What a function stands on: the code and the values that its result can depend on.

bytecode.py  what compiled code refers to
follow.py    from a function to everything of the project that it can reach
parts.py     what was found, by name
settings.py  what its modules do to libraries when they are imported
shared.py    what code sets that a process has once
things.py    what functions, classes and wrappers are made of
summary.py   values in short, and texts that can be written anywhere
"""
