"""Parts of the simulated day.

day.py        who asks what when: a curve, spikes, chance
fleet.py      the replicas of one model, and the requests that wait for them
played.py     a day played, and what is counted of it
policies.py   who says how many replicas there are: Motet's scaler, fixed numbers, perfect foresight
"""
