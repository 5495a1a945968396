"""Networks that were trained elsewhere become model files of ours, one file a format, with the same coordinates.

Each importer reads a description and tensors, builds the network in plain PyTorch, and hands it to
`poseloop_training.importers.base.write_model`, which exports and checks it as every model of ours is. None of them runs
code out of a file: weights load with ``weights_only=True``, and classes that a checkpoint names become inert stand-ins.
"""
