"""How many replicas each model has.

policy.py  how many it should have, from what is seen of it: a pure function
scaler.py  has that many, as far as the pool lends what they need
"""
