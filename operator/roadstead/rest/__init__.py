"""The REST face: the Workload API over the same custom resources, without a database of its own."""
