"""The lecture's other systems: strategies, counts, densities, UNREAL."""
