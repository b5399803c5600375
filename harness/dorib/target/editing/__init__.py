"""What acts on a model under an edit: changed weights and layers, and sampling rules."""
