"""What every request passes, whatever its protocol: identity, limits, audit, access log, trace.

middleware.py  the parts of a server around its repository
context.py     a request that was let in: who asked, what it holds, what is written down of it
entries.py     where requests come in that are not on the hot path; rest_entry.py, grpc_entry.py: what each asks for
"""
