"""What moves how: positions, velocities, angles and stays of one stream, by the frames' own times.

Everything is computed in Python's floats (IEEE double), in an order that does not depend on the processor, and sums are
rounded once (`math.fsum`): the same poses give the same numbers, to the bit, wherever they are replayed.

What is missing is NaN, and what depends on it is NaN. Two sightings of a keypoint that are more than `GAP_S` apart are
not connected: nothing is claimed about what lay between them.
"""

from poseloop_server.loop.kinematics.timeline import GAP_S

__all__ = ["GAP_S"]
