"""Running plans: which step next, one step, its process, the record of it all.

runner.py   which step when          state.py    what is known of each step
execute.py  one step: its key, a hit, or a call and what is kept of it
process.py  a step's own process     child.py    what runs in it
budget.py   resources                record.py   runs in SQLite
run.py      what a run gives back    logs.py     what steps print
"""
