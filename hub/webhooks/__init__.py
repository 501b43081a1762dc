"""Handlers that are URLs: the hub asks them by signed POST, and takes their answers as it takes those of functions."""
