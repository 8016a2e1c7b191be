"""What a client and a server of the Open Inference Protocol share: messages and tensors.

*.proto            the protocol's messages over gRPC, as far as they are used
descriptors.binpb  these, compiled; written by generate.py
messages.py        the classes of the messages
tensors.py         columns as tensors, and back
"""
