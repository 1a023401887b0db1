"""Files: written whole or not at all, hashed, and read back as pictures, tables, tensors and products of training."""
