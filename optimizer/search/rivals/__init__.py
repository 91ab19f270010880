"""The ways of searching that ours is compared with: the same problem, the same decoding, other ideas."""
