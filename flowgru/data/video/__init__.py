"""Frames of videos, folders and pictures, in order and with their times."""
