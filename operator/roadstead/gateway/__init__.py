"""The gateway in front of the endpoints: Envoy carries the traffic, this process configures it, authorises, wakes and counts."""
