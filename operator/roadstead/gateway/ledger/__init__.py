"""What the gateway counts: requests by endpoint, told to and by every other replica (docs/design/0002-ledger.md)."""
