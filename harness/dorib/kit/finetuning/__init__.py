"""What mitigations that train the U-Net share: the trainer, its checkpoints, drawn pictures.

A module lives here if two such mitigations would otherwise write it twice; what is trained towards
what is each one's own.
"""
