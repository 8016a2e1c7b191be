"""TensorFlow Serving's protocol over gRPC: messages (compiled from the .proto files here), and columns as its tensors."""
