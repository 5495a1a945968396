"""The Open Inference Protocol (KServe v2) over gRPC, beside the server's own."""
