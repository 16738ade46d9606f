"""``python -m roadstead``: the same as the command ``roadstead``."""

from __future__ import annotations

from roadstead.cli.main import main

if __name__ == "__main__":
    main()
