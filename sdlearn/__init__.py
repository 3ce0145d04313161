"""sdlearn: the small package behind the course "Stable Diffusion from scratch"."""

__version__ = "0.1.0"
