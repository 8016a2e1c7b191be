"""Experiments: routes by weighted split whose arms are compared by a metric, with statistics that may be looked at any time.

experiment.py ──► what is compared: arms, control, and the split as it was over time
exposures.py ──► what was seen of it, row by row; units.py ──► one observation a unit
"""
