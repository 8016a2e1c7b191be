"""What every request passes, whatever its protocol: identity, administration, limits, trace, access log, audit.

call.py            what came in
middleware.py      the chain: lets it in, and writes down what became of it
administration.py  who may load, unload and scale, and decide on experiments
context.py         one request on its way: who asks, what it holds until it is over, what is written down of it
"""
