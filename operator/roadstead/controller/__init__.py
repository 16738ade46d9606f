"""The shell: reads caches, calls ``desired`` and ``observed``, writes. It decides when; they decide what."""
