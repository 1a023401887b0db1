"""What several diffusion systems share: codec, denoiser, schedules, text backbone and attention."""
