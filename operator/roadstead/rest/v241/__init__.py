"""The Workload API v2.41: its bodies and answers, their translation to custom resources and back, and its routes."""
