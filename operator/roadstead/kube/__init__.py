"""The edge of the cluster: a small asynchronous client, mirrors, a work queue, leader election and Events.

Knows Kubernetes but no word of the product, so that what decides can be tested without it. Only aiohttp and orjson are used here:
typed models and the official client cost five to ten times the CPU of a plain dict on the paths that run for every child.
"""
