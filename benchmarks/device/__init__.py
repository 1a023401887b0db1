"""What a device does with the real line and the real networks, within minutes: rates, memory, pictures, and hours."""
