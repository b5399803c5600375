"""What is read of a model's folder: plain files of its own, complete and finite tensors."""
