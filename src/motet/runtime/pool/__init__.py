"""What models and work borrow: places for loaded models, processors, memory, accelerators, scratch disk.

shelf.py    which models are loaded, who waits for which, and what to load and to let go next; no threads, no clock
swaps.py    does it: loads and drops models in threads of its own, hands loaded ones to those who wait
memory.py   what a model's memory is, measured, and giving it back to the system
need.py     amounts of resources, and what this machine has
pool.py     lends them, to live work before bulk work
holders.py  who has borrowed what, for people
lease.py    what was borrowed, and places in the line
ledger.py   shares what is lent among the processes of a machine
scaling.py  how many replicas a model should have, from what is seen of it
scaler.py   has that many
"""
