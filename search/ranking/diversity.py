"""Results that differ from each other: maximal marginal relevance."""

from __future__ import annotations

import numpy as np

from search.records import Vectors


def diverse_order(scores: Vectors, rows: Vectors, limit: int, diversity: float) -> list[int]:
    """Up to `limit` indexes by maximal marginal relevance (Carbonell and Goldstein, 1998).

    Args:
        scores: (n,), best first.
        rows: (n, dim) unit vectors.
        limit: how many.
        diversity: from 0, order by score, to 1, order by difference alone (after the best one).
    """
    relevance = (1 - diversity) * scores
    similarity = np.zeros(len(scores), np.float32)  # to the most similar chosen one
    chosen: list[int] = []
    while len(chosen) < min(limit, len(scores)):
        gain = relevance - diversity * similarity
        gain[chosen] = -np.inf
        best = int(np.argmax(gain))
        similarity = np.maximum(similarity, rows @ rows[best]) if chosen else rows @ rows[best]
        chosen.append(best)
    return chosen
