"""Who calls and what they may do, for every face: the API server's own verdicts on tokens and rights, kept for seconds."""
