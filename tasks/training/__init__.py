"""What every trained system shares: the one training loop, and the images that training draws from."""
