"""The parts of the live benchmark and of the abuse tool.

work        jobs: what is asked, of which model, in which encoding
bodies      requests as bytes, and what answers say
servers     starting, watching and ending a server; its processor time and memory
load        driving a server: wrk, or `client` where wrk is missing
report      figures by round, ratios, tables
peers/      the other servers; each runs in a Python that need not know Motet
attacks, bad_requests, soak
            what benchmarks/abuse.py does to a server
"""
