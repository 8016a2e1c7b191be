"""What this machine, or the container that it seems to be, lets a process have.

limits.py    cores and memory, as control groups limit them
places.py    folders for what is kept, and for what is needed for a while
streams.py   the standard streams, where they are closed or nobody reads them
"""
