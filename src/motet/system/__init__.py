"""What this machine, or the container that it seems to be, lets a process have.

limits.py    cores and memory, as control groups limit them
places.py    folders for what is kept, and for what is needed for a while
progress*.py how far work is, told on a terminal, in a notebook or as lines of a log
html.py      tables for notebooks
whole_files.py  files that are written whole or not at all
streams.py   the standard streams, where they are closed or nobody reads them
garbage.py   when a program of ours looks for garbage
"""
