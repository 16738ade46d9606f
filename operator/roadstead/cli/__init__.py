"""The command line: the process entry points, and what a person does by hand.

Commands import what they need when they run, so that ``roadstead version`` and ``--help`` answer at once.
"""
