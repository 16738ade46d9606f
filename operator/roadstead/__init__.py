"""Roadstead: an operator that runs containerised AI services on GPU clusters."""

__version__ = "0.1.0"
