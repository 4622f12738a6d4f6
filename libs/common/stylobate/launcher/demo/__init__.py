"""A customer's journey against a running platform, through its public API and the realtime SDK only."""

from stylobate.launcher.demo.journey import Journey, StepFailedError

__all__ = ["Journey", "StepFailedError"]
