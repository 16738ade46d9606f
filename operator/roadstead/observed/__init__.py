"""What is: children and pods in, state, message and conditions out. Pure: the time is a parameter."""

from roadstead.observed.facts import Observed
from roadstead.observed.observe import Outcome, observe
from roadstead.observed.views import DeploymentView, NodeView, PodView

__all__ = ["DeploymentView", "NodeView", "Observed", "Outcome", "PodView", "observe"]
