"""The operator process: the only package that knows kopf."""
