"""Running plans: which step next, one step, its process, the record of it all.

start.py    from a plan to a run     run.py      what a run gives back
runner.py   which step when          state.py    what is known of each step
execute.py  one step: its key, a hit, or a call and what is kept of it
rules.py    whether rules hold       durations.py  numbers and times in words
session.py  what the steps share     journal.py  results that only the run keeps
process.py  a step in its own process    step_process.py  the process, here or elsewhere    child.py  what runs in it
turns.py    steps that set what their process has once, without a process of their own
resume.py   going on with a run          overlap.py  runs of one workflow at the same time
pack.py     results that cannot be kept
budget.py   resources
"""
