"""What the API server must accept and refuse of our kinds, as tables, and the means to ask it."""
