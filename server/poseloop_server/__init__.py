"""The poseloop server: frames come in over gRPC, a model finds keypoints, poses leave over ZeroMQ."""
