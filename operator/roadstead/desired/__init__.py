"""What must exist: custom resources and platform settings in, child objects out. Pure: no clock, no environment, no I/O.

One module per thing that can exist; each has a builder that returns the object, or None when it must not exist.
"""

from roadstead.desired.build import Desired, Inputs, build, stopped
from roadstead.desired.child import Child, ChildKind

__all__ = ["Child", "ChildKind", "Desired", "Inputs", "build", "stopped"]
