"""From words to what a U-Net is conditioned on: tokens, their vectors, embeddings."""
