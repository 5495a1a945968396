"""poseloop_training"""
