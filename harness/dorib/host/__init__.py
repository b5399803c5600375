"""The host of plugins: finds them, checks their parameters, and admits what they hand over."""
