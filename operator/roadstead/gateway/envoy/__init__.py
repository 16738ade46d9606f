"""Envoy's side of the gateway: its bootstrap, what it is told over xDS, and what it reports."""
