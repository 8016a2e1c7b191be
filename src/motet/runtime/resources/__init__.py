"""What models and work borrow: places for loaded models, processors, memory, accelerators, scratch disk.

memory.py   what a model's memory is, measured, and giving it back to the system
need.py     amounts of resources, and what this machine has
pool.py     lends them, to live work before bulk work
holders.py  who has borrowed what, for people
lease.py    what was borrowed, and places in the line
ledger.py   shares what is lent among the processes of a machine
"""
