"""gRPC, its server's side: for the Envoy beside us and for KEDA. One connection at a time, no thread but the event loop's."""
