"""For tests of chains: scripts in the model's place, the way a run took, snapshots."""

from .recorded import Recorded, record
from .script import Script, no_models

__all__ = ["Recorded", "Script", "no_models", "record"]
