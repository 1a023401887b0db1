"""The release: who is accepted, the manifest, the texts and pictures about it, and the gate before it."""
