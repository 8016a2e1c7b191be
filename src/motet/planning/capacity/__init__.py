"""Machines for a graph: what its rows take, measured once, and what pools of machines of one shape or of several come to.

    profiler.py ──► GraphProfile (profile.py): seconds of a row of every node, memory of every model, reading, writing, bytes
    catalogue.py ──► MachineShape: what machines there are, and what an hour of one costs
    works.py ──► StageWork: the stages that engines cut a graph into, with what a row takes in each
    pools.py ──► PoolPlan: for each stage a machine, and how many, for a goal (goal.py); one shape for all, or each its own
    plan.py ──► CapacityPlan (result.py), as text (wording.py), JSON and a page (page.py)
    applied.py ──► the hints in a graph file      submit.py ──► what engines are told      simulation.py ──► played by the pool's code

Nothing is measured twice: a profile that was saved gives the same plan for other machines and goals.
"""
