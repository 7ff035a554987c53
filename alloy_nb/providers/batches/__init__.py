"""Vendors' batch interfaces: many requests at once, answered within a day at a lower price."""

from __future__ import annotations

from alloy_nb.providers.batches.base import BatchState, Outcome, canceled, expired
from alloy_nb.providers.batches.client import Batches, batches_of

__all__ = ["BatchState", "Batches", "Outcome", "batches_of", "canceled", "expired"]
