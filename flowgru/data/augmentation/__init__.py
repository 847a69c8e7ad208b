"""Pairs of data sets without an end, each changed in space and in colour."""
