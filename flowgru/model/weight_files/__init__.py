"""Weights as files: flowgru's own, those of RAFT and torchvision, and from one network to another."""
