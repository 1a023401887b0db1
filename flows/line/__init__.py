"""A run on this machine: its stations and stages, the lock of its workspace, and its seconds."""
